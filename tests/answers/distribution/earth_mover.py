"""Answers to the exercises of docs/distribution/earth_mover.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # Bins one apart.
            """
            def distance_at(predictions, targets, positions):
                return earth_mover_distance(predictions, targets)
            """,
            # The difference of the means.
            """
            def distance_at(predictions, targets, positions):
                return ((predictions - targets) * positions).sum(dim=1).abs()
            """,
            # The average width for each border.
            """
            def distance_at(predictions, targets, positions):
                return earth_mover_distance(predictions, targets) * positions.diff().mean()
            """,
            # Widths from the wrong end.
            """
            def distance_at(predictions, targets, positions):
                gaps = (predictions - targets).cumsum(dim=1)[:, :-1]
                return (gaps.abs() * positions.diff().flip(0)).sum(dim=1)
            """,
        ),
    ),
    2: Answers(
        solution="""
        def plan(p, q):
            P, Q = (torch.cat([0 * x[:1], x.cumsum(0)]) for x in (p, q))
            return torch.minimum(P[:, None], Q).diff(dim=0).diff(dim=1)
        """,
        hidden="""
        p, q = torch.eye(4, dtype=torch.float64)[[3, 0]]
        moved = torch.as_tensor(plan(p, q)).double()
        assert abs(moved[3, 0] - 1) < 1e-6 and abs(moved.sum() - 1) < 1e-6, "all goes from 3 to 0"
        p, q = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], dtype=torch.float64)
        way = (torch.arange(3)[:, None] - torch.arange(3)).abs()
        assert abs((torch.as_tensor(plan(p, q)) * way).sum() - 1) < 1e-6, "one unit will do"
        p, q = torch.from_numpy(experiments.rng(7).dirichlet(np.ones(9), 2))
        way = (torch.arange(9)[:, None] - torch.arange(9)).abs()
        less = earth_mover_distance(p[None], q[None])
        done = (torch.as_tensor(plan(p, q)) * way).sum()
        assert abs(done - less) < 1e-5, "of nine bins, more work than need be"
        moved = torch.as_tensor(plan(p, p)).double()
        assert torch.allclose(moved, p.diag(), atol=1e-6), "what is in place stays"
        """,
        wrong=(
            # From each bin to each in proportion.
            """
            def plan(p, q):
                return p[:, None] * q
            """,
            # What can stay stays, and nothing else moves.
            """
            def plan(p, q):
                return torch.minimum(p, q).diag()
            """,
            # What can stay stays, the rest moves in proportion.
            """
            def plan(p, q):
                stay = torch.minimum(p, q)
                over, short = p - stay, q - stay
                return stay.diag() + over[:, None] * short / over.sum().clamp(min=1e-12)
            """,
            # Filled from both ends.
            """
            def plan(p, q):
                P, Q = (torch.cat([0 * x[:1], x.cumsum(0)]) for x in (p, q.flip(0)))
                return torch.minimum(P[:, None], Q).diff(dim=0).diff(dim=1).flip(1)
            """,
        ),
    ),
    3: Answers(
        wrong=(
            # The line.
            """
            def around(predictions, targets):
                return earth_mover_distance(predictions, targets)
            """,
            # The mean of what crosses, not its median.
            """
            def around(predictions, targets):
                gaps = (predictions - targets).cumsum(dim=1)
                return (gaps - gaps.mean(dim=1, keepdim=True)).abs().sum(dim=1)
            """,
            # All one way or all the other.
            """
            def around(predictions, targets):
                there = earth_mover_distance(predictions, targets)
                return torch.minimum(there, predictions.shape[1] - there)
            """,
            # The best of the line's cuts at two places.
            """
            def around(predictions, targets):
                half = predictions.shape[1] // 2
                turned = earth_mover_distance(predictions.roll(half, 1), targets.roll(half, 1))
                return torch.minimum(earth_mover_distance(predictions, targets), turned)
            """,
        ),
    ),
}
