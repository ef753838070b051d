"""Answers to the exercises of docs/language/token_losses.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # With the weight before the value: that is the live one.
            """
            def value(p, k):
                return -(p**k) * p.log()
            """,
            # The value is live, its weight a constant: a detach all the same.
            """
            def value(p, k):
                return -(p.detach() ** k) * p.log()
            """,
            # The k is lost.
            """
            def value(p, k):
                return 1 - p**k
            """,
            # Integrated once too often.
            """
            def value(p, k):
                return (1 - p ** (k + 1)) / (k + 1)
            """,
            # Not 0 at p = 1.
            """
            def value(p, k):
                return -(p**k) / k
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # As if the penalty were not there.
            """
            def settles(eta, alpha):
                return eta
            """,
            # Penalized also where it is the truth.
            """
            def settles(eta, alpha):
                return eta / (1 + alpha)
            """,
            # The likelihood of the second word is forgotten.
            """
            def settles(eta, alpha):
                return eta / (eta + (1 - eta) * alpha)
            """,
            # The weight on the wrong side.
            """
            def settles(eta, alpha):
                return eta * (1 + alpha) / (eta * (1 + alpha) + 1 - eta)
            """,
        ),
    ),
    3: Answers(
        solution="""
        def repeats(tokens, n):
            found = torch.zeros(tokens.shape, dtype=torch.bool)
            for i, row in enumerate(tokens.tolist()):
                before = set()
                for end in range(n, len(row) + 1):
                    gram = tuple(row[end - n : end])
                    found[i, end - 1] = gram in before
                    before.add(gram)
            return found
        """,
        hidden="""
        rows_ = torch.tensor([[5, 6, 5, 6, 5, 6], [6, 5, 7, 7, 7, 5]])
        pairs, fours, sevens = (torch.as_tensor(repeats(rows_, n)).int() for n in (2, 4, 7))
        assert pairs.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 0]], "pairs"
        assert fours.tolist() == [[0] * 5 + [1], [0] * 6], "fours"
        assert not sevens.any(), "n-grams longer than the text"
        """,
        wrong=(
            # Any token that has been said.
            """
            def repeats(tokens, n):
                return torch.tensor(
                    [[t in row[:i] for i, t in enumerate(row)] for row in tokens.tolist()]
                )
            """,
            # Every row sees the n-grams of those before it.
            """
            def repeats(tokens, n):
                found = torch.zeros(tokens.shape, dtype=torch.bool)
                before = set()
                for i, row in enumerate(tokens.tolist()):
                    for end in range(n, len(row) + 1):
                        found[i, end - 1] = tuple(row[end - n : end]) in before
                        before.add(tuple(row[end - n : end]))
                return found
            """,
            # Where the n-gram begins.
            """
            def repeats(tokens, n):
                found = torch.zeros(tokens.shape, dtype=torch.bool)
                for i, row in enumerate(tokens.tolist()):
                    before = set()
                    for end in range(n, len(row) + 1):
                        found[i, end - n] = tuple(row[end - n : end]) in before
                        before.add(tuple(row[end - n : end]))
                return found
            """,
            # Only n-grams that do not overlap the earlier one.
            """
            def repeats(tokens, n):
                found = torch.zeros(tokens.shape, dtype=torch.bool)
                for i, row in enumerate(tokens.tolist()):
                    for end in range(n, len(row) + 1):
                        first = row[end - n : end]
                        earlier = [row[k : k + n] for k in range(end - 2 * n + 1)]
                        found[i, end - 1] = first in earlier
                return found
            """,
        ),
    ),
}
