"""Answers to the exercises of docs/foundations/what_a_loss_is.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The bound of cross entropy.
            """
            def promised(brier):
                return max(0.0, 1 - brier / math.log(2))
            """,
            # The score of one probability for two classes.
            """
            def promised(brier):
                return max(0.0, 1 - 4 * brier)
            """,
            # A wrong decision that gives the truth nothing and the rival all.
            """
            def promised(brier):
                return max(0.0, 1 - brier / 2)
            """,
            # Never below 0 was forgotten.
            """
            def promised(brier):
                return 1 - 2 * brier
            """,
        ),
    ),
    2: Answers(
        solution="""
        def floor(inputs, labels):
            groups = [labels[inputs == i] for i in inputs.unique()]
            return sum(len(group) * at_chance(group) for group in groups) / len(labels)
        """,
        hidden="""
        draw = experiments.rng(7)
        inputs = torch.from_numpy(draw.integers(-3, 4, 60) * 10)
        labels = torch.from_numpy(draw.integers(0, 4, 60))
        table = torch.zeros(61, 4, dtype=torch.float64)
        for i, label in zip(inputs.tolist(), labels.tolist()):
            table[i, label] += 1  # A negative number counts from the end.
        shares = table / table.sum(dim=1, keepdim=True)
        reached = cross_entropy(shares[inputs].log(), labels).mean().item()
        assert abs(float(floor(inputs, labels)) - reached) < 1e-6, "of sixty examples it is off"
        """,
        wrong=(
            # Each input once, however many examples share it.
            """
            def floor(inputs, labels):
                groups = [labels[inputs == i] for i in inputs.unique()]
                return sum(at_chance(group) for group in groups) / len(groups)
            """,
            # The sum over the examples.
            """
            def floor(inputs, labels):
                groups = [labels[inputs == i] for i in inputs.unique()]
                return sum(len(group) * at_chance(group) for group in groups)
            """,
            # The value at chance.
            """
            def floor(inputs, labels):
                return at_chance(labels)
            """,
            # The error rate that is left, in nats.
            """
            def floor(inputs, labels):
                groups = [labels[inputs == i] for i in inputs.unique()]
                missed = sum(len(group) - group.bincount().max().item() for group in groups)
                return missed / len(labels) * math.log(2)
            """,
        ),
    ),
    3: Answers(
        wrong=(
            # The condition of the convex ones.
            """
            def suitable(phi):
                zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
                return torch.autograd.grad(phi(zero).sum(), zero)[0].item() < 0
            """,
            # It is enough to charge more for -1 than for 1.
            """
            def suitable(phi):
                one = torch.ones(1, dtype=torch.float64)
                return (phi(-one) > phi(one)).item()
            """,
            # Margins up to 1 alone.
            """
            def suitable(phi):
                x = torch.arange(-100, 101, dtype=torch.float64) / 100
                risks = [eta * phi(x) + (1 - eta) * phi(-x) for eta in (0.51, 0.75, 0.9)]
                return all(risk[x <= 0].min() > risk.min() + 1e-6 for risk in risks)
            """,
            # One eta for all.
            """
            def suitable(phi):
                x = torch.arange(-400, 401, dtype=torch.float64) / 100
                risk = 0.9 * phi(x) + 0.1 * phi(-x)
                return bool(risk[x <= 0].min() > risk.min() + 1e-6)
            """,
            # What falls will do.
            """
            def suitable(phi):
                x = torch.arange(-400, 401, dtype=torch.float64) / 100
                return bool((phi(x).diff() <= 0).all())
            """,
        ),
    ),
}
