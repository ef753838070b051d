"""Answers to the exercises of docs/foundations/outliers.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The loss is taken to have the unit of a residual.
            """
            def in_units_of(unit, delta):
                return delta / unit, unit
            """,
            # The unit is turned over.
            """
            def in_units_of(unit, delta):
                return delta * unit, 1 / unit**2
            """,
            # A threshold without a unit.
            """
            def in_units_of(unit, delta):
                return delta, unit**2
            """,
            # Smooth L1, which has the unit of a residual once and a threshold.
            """
            def in_units_of(unit, delta):
                return delta / unit, unit * delta
            """,
        ),
    ),
    2: Answers(
        solution="""
        def unseen_errors(H, r, left):
            within = H[np.ix_(left, left)]
            return np.linalg.solve(np.eye(len(left)) - within, r[left])
        """,
        hidden="""
        X = np.stack([np.arange(12.0), np.arange(12.0) ** 2, np.ones(12)], axis=1)
        y = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8])
        H = X @ np.linalg.pinv(X)
        for left in (np.array([11]), np.array([10, 11, 2, 0])):
            kept = np.setdiff1d(np.arange(12), left)
            fit = np.linalg.lstsq(X[kept], y[kept], rcond=None)[0]
            given = np.asarray(unseen_errors(H, H @ y - y, left))
            assert np.allclose(given, X[left] @ fit - y[left]), f"a parabola without {left}"
        """,
        wrong=(
            # Each point left out alone.
            """
            def unseen_errors(H, r, left):
                return r[left] / (1 - H[left, left])
            """,
            # The leverages of the others are added up.
            """
            def unseen_errors(H, r, left):
                return r[left] / (1 - H[left, left].sum() + 1e-12)
            """,
            # Multiplied by where one has to solve.
            """
            def unseen_errors(H, r, left):
                return (np.eye(len(left)) - H[np.ix_(left, left)]) @ r[left]
            """,
            # The residuals as they are.
            """
            def unseen_errors(H, r, left):
                return r[left]
            """,
        ),
    ),
    3: Answers(
        wrong=(
            # The factor of normal residuals.
            """
            def factor(residuals):
                return (residuals.var() / 2).exp()
            """,
            # The sign of the residuals.
            """
            def factor(residuals):
                return residuals.exp().mean()
            """,
            # Residuals that average 0.
            """
            def factor(residuals):
                return (residuals.mean() - residuals).exp().mean()
            """,
            # A quotient of means in place of a mean of quotients.
            """
            def factor(residuals):
                return 1 / residuals.exp().mean()
            """,
        ),
    ),
}
