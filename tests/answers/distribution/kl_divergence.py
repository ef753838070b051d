"""Answers to the exercises of docs/distribution/kl_divergence.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The average of the logits.
            """
            def jensen_shannon(logits, target_logits):
                middle = (logits + target_logits) / 2
                return (kl_divergence(middle, logits) + kl_divergence(middle, target_logits)) / 2
            """,
            # From the average, not to it.
            """
            def jensen_shannon(logits, target_logits):
                log_p, log_q = logits.log_softmax(dim=1), target_logits.log_softmax(dim=1)
                middle = torch.logaddexp(log_p, log_q)
                return (kl_divergence(log_p, middle) + kl_divergence(log_q, middle)) / 2
            """,
            # The mean of the two directions.
            """
            def jensen_shannon(logits, target_logits):
                there = kl_divergence(logits, target_logits)
                return (there + kl_divergence(target_logits, logits)) / 2
            """,
            # Logits averaged as if they were log-probabilities.
            """
            def jensen_shannon(logits, target_logits):
                middle = torch.logaddexp(logits, target_logits)
                return (kl_divergence(middle, logits) + kl_divergence(middle, target_logits)) / 2
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The other direction.
            """
            def gaussian_kl(mean, width, to_mean, to_width):
                spread = (to_width**2 + (mean - to_mean) ** 2) / width**2
                return (spread - 1) / 2 - math.log(to_width / width)
            """,
            # Widths taken for variances.
            """
            def gaussian_kl(mean, width, to_mean, to_width):
                spread = (width + (mean - to_mean) ** 2) / to_width
                return (spread - 1 - math.log(width / to_width)) / 2
            """,
            # Half of all, the logarithm of the widths too.
            """
            def gaussian_kl(mean, width, to_mean, to_width):
                spread = (width**2 + (mean - to_mean) ** 2) / to_width**2
                return (spread - 1 - math.log(width / to_width)) / 2
            """,
        ),
    ),
    3: Answers(
        solution="""
        def one_for_all(logits, reverse=False):
            log_q = logits.log_softmax(dim=2)
            return log_q.mean(dim=0) if reverse else log_q.logsumexp(dim=0)
        """,
        hidden="""
        many = torch.from_numpy(experiments.rng(1).normal(0, 3, (5, 4, 7)))
        for reverse, loss in ((False, kl_divergence), (True, swapped)):
            best = one_for_all(many, reverse=reverse).detach().requires_grad_()
            total = loss(best.expand(5, 4, 7).flatten(0, 1), many.flatten(0, 1)).mean()
            (slope,) = torch.autograd.grad(total, best)
            teachers = (loss(one.expand(5, 4, 7).flatten(0, 1), many.flatten(0, 1)) for one in many)
            nearest = slope.abs().max() < 1e-6 and total < min(each.mean() for each in teachers)
            assert nearest, f"of five, reverse={reverse}, it is not the nearest"
        """,
        wrong=(
            # The mean of the logits, whatever the direction.
            """
            def one_for_all(logits, reverse=False):
                return logits.mean(dim=0)
            """,
            # The mean of the probabilities, whatever the direction.
            """
            def one_for_all(logits, reverse=False):
                return logits.softmax(dim=2).mean(dim=0).log()
            """,
            # The two exchanged.
            """
            def one_for_all(logits, reverse=False):
                log_q = logits.log_softmax(dim=2)
                return log_q.logsumexp(dim=0) if reverse else log_q.mean(dim=0)
            """,
            # A teacher with larger logits gets the larger say.
            """
            def one_for_all(logits, reverse=False):
                return logits.mean(dim=0) if reverse else logits.logsumexp(dim=0)
            """,
            # At a corner, where no slope is left: the mean's likeliest class alone.
            """
            def one_for_all(logits, reverse=False):
                if not reverse:
                    return logits.softmax(dim=2).mean(dim=0).log()
                likeliest = logits.log_softmax(dim=2).mean(dim=0).argmax(dim=1)
                return 1000.0 * torch.nn.functional.one_hot(likeliest, logits.shape[2])
            """,
            # Probabilities given for logits.
            """
            def one_for_all(logits, reverse=False):
                return logits.mean(dim=0) if reverse else logits.softmax(dim=2).mean(dim=0)
            """,
        ),
    ),
}
