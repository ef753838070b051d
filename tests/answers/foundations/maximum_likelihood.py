"""Answers to the exercises of docs/foundations/maximum_likelihood.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The density is a product, and its factor in front is lost.
            """
            def waiting_loss(log_rates, times):
                return times * log_rates.exp()
            """,
            # A rate that overflows, times a time of 0.
            """
            def waiting_loss(log_rates, times):
                return times * log_rates.exp() - log_rates
            """,
            # The computer's logarithm of a density that underflows.
            """
            def waiting_loss(log_rates, times):
                rates = log_rates.exp()
                return -(rates * (-times * rates).exp()).log()
            """,
            # The mean time for the rate.
            """
            def waiting_loss(log_rates, times):
                return times * (-log_rates).exp() + log_rates
            """,
            # The likelihood for its negative logarithm.
            """
            def waiting_loss(log_rates, times):
                return log_rates - times * log_rates.exp()
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # Without the number of examples.
            """
            def decay(s, tau, n):
                return 2 * s**2 / tau**2
            """,
            # The factor of the penalty for that of its slope.
            """
            def decay(s, tau, n):
                return s**2 / (n * tau**2)
            """,
            # Noise and prior exchanged.
            """
            def decay(s, tau, n):
                return 2 * tau**2 / (n * s**2)
            """,
            # Standard deviations for variances.
            """
            def decay(s, tau, n):
                return 2 * s / (n * tau)
            """,
        ),
    ),
    3: Answers(
        solution="""
        def closest_gaussian(y, density):
            weights = density / density.sum()
            mean = weights @ y
            return mean, (weights @ (y - mean) ** 2) ** 0.5
        """,
        hidden="""
        y = np.linspace(-4, 40, 8001)
        for k, scale in ((2.0, 1.0), (3.5, 2.0)):
            density = stats.gamma.pdf(y, k, scale=scale)
            mean, std = closest_gaussian(y, density)
            assert abs(mean - k * scale) < 1e-3, f"a mean of {mean:.3f}"
            assert abs(std - scale * k**0.5) < 1e-2, f"a standard deviation of {std:.3f}"
        """,
        wrong=(
            # The Gaussian at the highest peak.
            """
            def closest_gaussian(y, density):
                peak = y[density.argmax()]
                weights = density / density.sum()
                return peak, (weights @ (y - peak) ** 2) ** 0.5
            """,
            # The median, and the mean distance from it.
            """
            def closest_gaussian(y, density):
                weights = density / density.sum()
                middle = y[np.searchsorted(weights.cumsum(), 0.5)]
                return middle, weights @ abs(y - middle)
            """,
            # A variance for a standard deviation.
            """
            def closest_gaussian(y, density):
                weights = density / density.sum()
                mean = weights @ y
                return mean, weights @ (y - mean) ** 2
            """,
            # One percent too wide.
            """
            def closest_gaussian(y, density):
                weights = density / density.sum()
                mean = weights @ y
                return mean, 1.01 * (weights @ (y - mean) ** 2) ** 0.5
            """,
        ),
    ),
}
