"""Answers to the exercises of docs/preference/dpo.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # Averages are smaller, so a smaller tau.
            """
            def tau_of_averages(tau, n):
                return tau / n
            """,
            # As if the two losses had to be equal, and not their least places.
            """
            def tau_of_averages(tau, n):
                return n**2 * tau
            """,
            # TRL's: the same number for both.
            """
            def tau_of_averages(tau, n):
                return tau
            """,
            # As if averages shrank a lead as the mean of n independent draws.
            """
            def tau_of_averages(tau, n):
                return n**0.5 * tau
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The share of the loss, not of the pull.
            """
            import math

            def settled(f, beta, kl):
                return max(kl, 0.0) + math.log((2 - f) / f) / beta
            """,
            # A negative estimate is not raised to 0.
            """
            import math

            def settled(f, beta, kl):
                q = (1 + math.sqrt(1 - f)) / 2
                return kl + math.log(q / (1 - q)) / beta
            """,
            # The tail's approximation.
            """
            import math

            def settled(f, beta, kl):
                return max(kl, 0.0) + math.log(4 / f) / beta
            """,
            # The unit of beta is forgotten.
            """
            import math

            def settled(f, beta, kl):
                q = (1 + math.sqrt(1 - f)) / 2
                return max(kl, 0.0) + math.log(q / (1 - q))
            """,
        ),
    ),
    3: Answers(
        solution="""
        def rate(F, theta, w, l, beta):
            mean = (F @ theta).softmax(dim=0) @ F
            return beta / 2 * ((F[w] - mean) @ (F[w] - F[l])).item()
        """,
        hidden="""
        for seed in range(20):
            draw = experiments.rng(900 + seed)
            F, theta = (torch.from_numpy(draw.normal(size=size)) for size in ((6, 4), 4))
            w, l, beta = seed % 6, (seed + 1 + seed // 6) % 6, 0.05 * (1 + seed % 7)
            w, l = (w, l) if w != l else (w, (l + 1) % 6)
            moving = theta.clone().requires_grad_()
            now, then = (F @ moving).log_softmax(0), (F @ theta).log_softmax(0)
            loss = dpo_loss(now[w], now[l], then[w], then[l], beta=beta)
            (slope,) = torch.autograd.grad(loss, moving, retain_graph=True)
            (of_chosen,) = torch.autograd.grad(now[w], moving)
            known = -(slope @ of_chosen).item()
            miss = abs(float(rate(F, theta, w, l, beta)) - known)
            assert miss < 1e-9, f"draw {seed}: it misses by {miss:.2g}"
        """,
        wrong=(
            # The logit of the chosen answer, not its log-probability.
            """
            def rate(F, theta, w, l, beta):
                return beta / 2 * (F[w] @ (F[w] - F[l])).item()
            """,
            # The whole beta: the weight of a pair at the start is one half.
            """
            def rate(F, theta, w, l, beta):
                mean = (F @ theta).softmax(dim=0) @ F
                return beta * ((F[w] - mean) @ (F[w] - F[l])).item()
            """,
            # How fast the lead changes.
            """
            def rate(F, theta, w, l, beta):
                return beta / 2 * ((F[w] - F[l]) @ (F[w] - F[l])).item()
            """,
            # The mean of all answers, however likely.
            """
            def rate(F, theta, w, l, beta):
                return beta / 2 * ((F[w] - F.mean(dim=0)) @ (F[w] - F[l])).item()
            """,
            # Up the gradient.
            """
            def rate(F, theta, w, l, beta):
                mean = (F @ theta).softmax(dim=0) @ F
                return -beta / 2 * ((F[w] - mean) @ (F[w] - F[l])).item()
            """,
        ),
    ),
}
