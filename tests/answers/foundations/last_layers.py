"""Answers to the exercises of docs/foundations/last_layers.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # All other classes at a cosine of -1: one example can have that, not all.
            """
            def scale_for(classes, floor):
                return 0.5 * math.log((classes - 1) / math.expm1(floor))
            """,
            # All other classes at right angles.
            """
            def scale_for(classes, floor):
                return math.log((classes - 1) / math.expm1(floor))
            """,
            # The fraction turned over.
            """
            def scale_for(classes, floor):
                lead = math.log((classes - 1) / math.expm1(floor))
                return lead * classes / (classes - 1)
            """,
            # The floor for the probability that is missing.
            """
            def scale_for(classes, floor):
                return math.log((classes - 1) * (1 - floor) / floor) * (classes - 1) / classes
            """,
        ),
    ),
    2: Answers(
        solution="""
        def softsign_loss(z, y):
            A = lambda u: u.abs() - torch.log1p(u.abs())
            right = y / (1 - y.abs())
            return A(z) - y * z - (A(right) - y * right)
        """,
        hidden="""
        draw = experiments.rng(1)
        z = torch.from_numpy(draw.normal(0, 5, 200)).requires_grad_()
        y = torch.from_numpy(draw.uniform(-0.95, 0.95, 200))
        loss = softsign_loss(z, y)
        assert (loss > -1e-9).all(), f"the least loss is 0, not {loss.min().item():.4f}"
        (slope,) = torch.autograd.grad(loss.sum(), z)
        assert torch.allclose(slope, z / (1 + z.abs()) - y), "the gradient is not h(z) - y"
        right = y / (1 - y.abs())
        assert softsign_loss(right, y).abs().max() < 1e-9, "a perfect prediction costs something"
        above, below = (softsign_loss(z.detach() + moved, y) for moved in (1e-4, -1e-4))
        assert torch.allclose((above - below) / 2e-4, slope, atol=1e-5), "the values do not rise so"
        """,
        wrong=(
            # Without its constant.
            """
            def softsign_loss(z, y):
                return z.abs() - torch.log1p(z.abs()) - y * z
            """,
            # The right gradient of a wrong value.
            """
            def softsign_loss(z, y):
                off = (z / (1 + z.abs()) - y).detach()
                return off**2 / 2 + off * (z - z.detach())
            """,
            # Half the squared error of the prediction.
            """
            def softsign_loss(z, y):
                return (z / (1 + z.abs()) - y) ** 2 / 2
            """,
            # Integrated for positive scores alone.
            """
            def softsign_loss(z, y):
                right = y / (1 - y)
                return z - torch.log1p(z) - y * z - (right - torch.log1p(right) - y * right)
            """,
            # The loss of a tanh.
            """
            def softsign_loss(z, y):
                right = y.atanh()
                matched = lambda u: u.abs() + F.softplus(-2 * u.abs()) - y * u
                return matched(z) - matched(right)
            """,
        ),
    ),
    3: Answers(
        wrong=(
            # The rate of all the time for the rate of an hour.
            """
            def count_loss(log_rates, counts, hours):
                return log_rates.exp() - counts * log_rates
            """,
            # The right gradient of a squared error.
            """
            def count_loss(log_rates, counts, hours):
                expected = hours * log_rates.exp()
                return (expected - counts) ** 2 / 2 / expected.detach()
            """,
            # Counts per hour, each with one voice.
            """
            def count_loss(log_rates, counts, hours):
                return log_rates.exp() - counts / hours * log_rates
            """,
            # The time on the wrong term.
            """
            def count_loss(log_rates, counts, hours):
                return log_rates.exp() - counts * hours * log_rates
            """,
        ),
    ),
}
