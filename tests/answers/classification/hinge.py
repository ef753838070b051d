"""Answers to the exercises of docs/classification/hinge.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The perceptron's step.
            """
            def step(w, u, t):
                return w + (t * (w @ u) < 1) * t * u
            """,
            # Not divided by the length of u.
            """
            def step(w, u, t):
                return w + hinge_loss(w @ u, t) * t * u
            """,
            # Divided by the length and not by its square.
            """
            def step(w, u, t):
                return w + hinge_loss(w @ u, t) / u.norm() * t * u
            """,
            # Moves even where nothing is missing.
            """
            def step(w, u, t):
                return w + (1 - t * (w @ u)) / (u @ u) * t * u
            """,
            # One coordinate alone: it suffices, but is longer.
            """
            def step(w, u, t):
                moved = w.clone()
                moved[0] += hinge_loss(w @ u, t) * t / u[0]
                return moved
            """,
        ),
    ),
    2: Answers(
        solution="""
        def costly(scores, labels, costs):
            rival = (costs[labels] + scores).amax(1)
            return rival - scores.gather(1, labels[:, None])[:, 0]
        """,
        hidden="""
        table = torch.tensor([[0, 5, 0.5], [1, 0, 1], [0, 3, 0]]).double()
        scores = 3 * torch.arange(300.0).view(100, 3).double().cos()
        told = torch.arange(100) % 3
        leads = scores.gather(1, told[:, None]) - scores
        wanted = (table[told] - leads).amax(1)
        torch.testing.assert_close(costly(scores, told, table), wanted)
        """,
        wrong=(
            # Every mistake at the price of the dearest.
            """
            def costly(scores, labels, costs):
                return costs[labels].amax(1) * crammer_singer_loss(scores, labels)
            """,
            # The lead that the dearest class would need, over all.
            """
            def costly(scores, labels, costs):
                true = scores.gather(1, labels[:, None])[:, 0]
                others = scores.scatter(1, labels[:, None], -torch.inf)
                return (costs[labels].amax(1) + others.amax(1) - true).relu()
            """,
            # The price of the class that scores highest, times the hinge.
            """
            def costly(scores, labels, costs):
                rival = scores.scatter(1, labels[:, None], -torch.inf).argmax(1)
                return costs[labels, rival] * crammer_singer_loss(scores, labels)
            """,
            # The sum over the classes.
            """
            def costly(scores, labels, costs):
                return (costs[labels] + scores - scores.gather(1, labels[:, None])).relu().sum(1)
            """,
            # The cost itself, which has no slope.
            """
            def costly(scores, labels, costs):
                return costs[labels, scores.argmax(1)].to(scores)
            """,
        ),
    ),
}
