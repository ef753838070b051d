"""Answers to the exercises of docs/embedding/cosine.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # As if length did not matter to the steps.
            """
            def rate(r, k):
                return r
            """,
            # The gradient is smaller, but the step must be larger, too.
            """
            def rate(r, k):
                return r * k
            """,
            # Upside down.
            """
            def rate(r, k):
                return r / k**2
            """,
        ),
    ),
    2: Answers(
        solution="""
        def center(targets):
            total = (targets / targets.norm(dim=1, keepdim=True)).sum(0)
            return total / total.norm()
        """,
        hidden="""
        draw = experiments.rng(3)
        for n, d in ((5, 3), (40, 8)):
            rows = torch.from_numpy(draw.normal(0.5, 1, (n, d)) * draw.lognormal(0, 2, (n, 1)))
            u = torch.as_tensor(center(rows)).double().requires_grad_()
            assert u.shape == (d,), f"expected a vector of {d}, got {tuple(u.shape)}"
            assert abs(u.norm() - 1) < 1e-6, "it is no unit vector"
            loss = cosine_distance(u.expand_as(rows), rows).mean()
            (slope,) = torch.autograd.grad(loss, u)
            assert slope.norm() < 1e-6, f"of {n} rows, a step still helps"
            assert loss < cosine_distance(-u.expand_as(rows), rows).mean(), "it points away"
        """,
        wrong=(
            # The long rows count for more.
            """
            def center(targets):
                return targets.mean(0) / targets.mean(0).norm()
            """,
            # A mean of directions, which is no unit vector.
            """
            def center(targets):
                return (targets / targets.norm(dim=1, keepdim=True)).mean(0)
            """,
            # The first principal direction, which knows no sign and squares the cosines.
            """
            def center(targets):
                unit = targets / targets.norm(dim=1, keepdim=True)
                first = torch.linalg.svd(unit)[2][0]
                return first * (unit @ first).sum().sign()
            """,
        ),
    ),
}
