"""Answers to the exercises of docs/preference/bradley_terry.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The base of the power left as it is.
            """
            def nats(points):
                return points / 400

            def learning_rate(k):
                return nats(k)
            """,
            # The right scale, and a rate in points.
            """
            import math

            def nats(points):
                return points * math.log(10) / 400

            def learning_rate(k):
                return k
            """,
            # The scale the other way round.
            """
            import math

            def nats(points):
                return points * 400 / math.log(10)

            def learning_rate(k):
                return nats(k)
            """,
            # Half of the step, as if the lead moved and not each of the two.
            """
            import math

            def nats(points):
                return points * math.log(10) / 400

            def learning_rate(k):
                return nats(k) / 2
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # Each player has won and lost.
            """
            def settled(wins):
                return bool((wins.sum(0) > 0).all() and (wins.sum(1) > 0).all())
            """,
            # The players hang together, whoever won.
            """
            def settled(wins):
                games = ((wins + wins.T) > 0) | torch.eye(len(wins), dtype=torch.bool)
                for _ in range(len(wins)):
                    games = (games.long() @ games.long()) > 0
                return bool(games.all())
            """,
            # Everyone has a chain to the first.
            """
            def settled(wins):
                reach = (wins > 0) | torch.eye(len(wins), dtype=torch.bool)
                for _ in range(len(wins)):
                    reach = (reach.long() @ reach.long()) > 0
                return bool(reach[:, 0].all())
            """,
            # The last has a chain to everyone.
            """
            def settled(wins):
                reach = (wins > 0) | torch.eye(len(wins), dtype=torch.bool)
                for _ in range(len(wins)):
                    reach = (reach.long() @ reach.long()) > 0
                return bool(reach[-1].all())
            """,
            # All have met, and nobody is unbeaten.
            """
            def settled(wins):
                met = (wins + wins.T + torch.eye(len(wins), dtype=wins.dtype)) > 0
                return bool(met.all() and (wins.sum(0) > 0).all())
            """,
        ),
    ),
    3: Answers(
        solution="""
        import math

        def taught_lead(eta, margin):
            edge, shrunk = 2 * eta - 1, math.exp(-margin)
            root = math.sqrt(edge**2 + 4 * eta * (1 - eta) * shrunk**2)
            if edge < 0:
                return -taught_lead(1 - eta, margin)
            return math.log((edge + root) / (2 * (1 - eta) * shrunk))
        """,
        hidden="""
        for eta in (0.02, 0.3, 0.5, 0.55, 0.98):
            for margin in (0.0, 0.5, 2.0, 5.0):
                given = float(taught_lead(eta, margin))
                x = torch.tensor([given, 0.0, margin], dtype=torch.float64, requires_grad=True)
                first, second = bradley_terry_loss(*x), bradley_terry_loss(x[1], x[0], x[2])
                (slope,) = torch.autograd.grad(eta * first + (1 - eta) * second, x)
                assert abs(slope[0]) < 1e-6, f"at eta {eta} and margin {margin} it is not flat"
        """,
        wrong=(
            # The margin does nothing.
            """
            import math

            def taught_lead(eta, margin):
                return math.log(eta / (1 - eta))
            """,
            # The margin on top, for whoever is preferred more often.
            """
            import math

            def taught_lead(eta, margin):
                side = (eta > 0.5) - (eta < 0.5)
                return math.log(eta / (1 - eta)) + side * margin
            """,
            # Each margin as often as it is asked for.
            """
            import math

            def taught_lead(eta, margin):
                return math.log(eta / (1 - eta)) + (2 * eta - 1) * margin
            """,
            # The other root's sign under the square root.
            """
            import math

            def taught_lead(eta, margin):
                edge, shrunk = 2 * eta - 1, math.exp(-margin)
                root = math.sqrt(edge**2 + 4 * eta * (1 - eta) * shrunk)
                return math.log((edge + root) / (2 * (1 - eta) * shrunk))
            """,
        ),
    ),
}
