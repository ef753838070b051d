"""Answers to the exercises of docs/distribution/jensen_shannon.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The entropy of the mixture alone: members that are unsure alike seem to disagree.
            """
            def disagreement(logits, weights):
                mixture = (weights[:, None, None] * logits.softmax(dim=-1)).sum(dim=0)
                return torch.special.entr(mixture).sum(dim=-1)
            """,
            # All members trusted alike.
            """
            def disagreement(logits, weights):
                p = logits.softmax(dim=-1)
                own = torch.special.entr(p).sum(dim=-1)
                return torch.special.entr(p.mean(dim=0)).sum(dim=-1) - own.mean(dim=0)
            """,
            # The mean of the logits for the mixture.
            """
            def disagreement(logits, weights):
                own = torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1)
                mixture = (weights[:, None, None] * logits).sum(dim=0).softmax(dim=-1)
                return torch.special.entr(mixture).sum(dim=-1) - (weights[:, None] * own).sum(dim=0)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # As if tokens after a refusal were kept.
            """
            def tokens_per_check(alpha, k):
                return 1 + k * alpha
            """,
            # As if there were no end to the draft.
            """
            def tokens_per_check(alpha, k):
                return 1 / max(1 - alpha, 1e-9)
            """,
            # The sum of the geometric series, which is 0 / 0 where every token is accepted.
            """
            def tokens_per_check(alpha, k):
                return (1 - alpha ** (k + 1)) / (1 - alpha)
            """,
            # Without the token that comes after the last.
            """
            def tokens_per_check(alpha, k):
                return sum(alpha**i for i in range(k))
            """,
        ),
    ),
    3: Answers(
        solution="""
        import math

        def between(t):
            rest = [(1 + t) / 2, (1 - t) / 2]
            unknown = -sum(x * math.log(x) for x in rest if x > 0)
            return math.log(2) - unknown, t * math.log(2)
        """,
        hidden="""
        for t in (0.01, 0.1, 0.3, 0.5, 0.9, 0.999):
            low, high = between(t)
            x, y = ([[(1 + s * t) / 2, (1 - s * t) / 2]] for s in (1, -1))
            x, y = (torch.tensor(p, dtype=torch.float64).log() for p in (x, y))
            least = generalized_jsd(x, y).item()
            assert abs(low - least) < 1e-9, f"at distance {t} the least is {least:.4f}"
            x, y = ([[1 - t, t, 0.0]], [[1 - t, 0.0, t]])
            x, y = (torch.tensor(p, dtype=torch.float64).log() for p in (x, y))
            greatest = generalized_jsd(x, y).item()
            assert abs(high - greatest) < 1e-9, f"at distance {t} the greatest is {greatest:.4f}"
        """,
        wrong=(
            # Pinsker's bound, which no pair reaches, and the largest value of all.
            """
            import math

            def between(t):
                return t**2 / 2, math.log(2)
            """,
            # No more than that it is not negative and at most log 2, apart from the ends.
            """
            import math

            def between(t):
                return (t * math.log(2),) * 2 if t in (0, 1) else (0, math.log(2))
            """,
            # Pinsker's bound below, with the end mended, and the right one above.
            """
            import math

            def between(t):
                return math.log(2) if t == 1 else t**2 / 2, t * math.log(2)
            """,
            # The right one below, and the largest value of all.
            """
            import math

            def between(t):
                rest = [(1 + t) / 2, (1 - t) / 2]
                unknown = -sum(x * math.log(x) for x in rest if x > 0)
                return math.log(2) - unknown, math.log(2) if t else 0
            """,
            # A parabola through both ends.
            """
            import math

            def between(t):
                return t**2 * math.log(2), t * math.log(2)
            """,
            # The entropy of the distance in place of that of the guess.
            """
            import math

            def between(t):
                unknown = -sum(x * math.log(x) for x in (t, 1 - t) if x > 0)
                return math.log(2) - unknown, t * math.log(2)
            """,
            # In bits.
            """
            import math

            def between(t):
                rest = [(1 + t) / 2, (1 - t) / 2]
                return 1 + sum(x * math.log2(x) for x in rest if x > 0), t
            """,
        ),
    ),
}
