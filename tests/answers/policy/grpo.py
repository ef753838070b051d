"""Answers to the exercises of docs/policy/grpo.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The biased deviation.
            """
            def rare(group):
                return (group - 1) ** 0.5
            """,
            # Without the deviation.
            """
            def rare(group):
                return 1 - 1 / group
            """,
            # Leave-one-out.
            """
            def rare(group):
                return 1.0
            """,
            # The root of the group, which it comes near.
            """
            def rare(group):
                return group**0.5
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The gradient of the other divergence.
            """
            def both(log_probs, reference_log_probs):
                return kl_penalty(log_probs, reference_log_probs)
            """,
            # The value is off.
            """
            def both(log_probs, reference_log_probs):
                return kl_penalty(log_probs, reference_log_probs, kind="k2")
            """,
            # No gradient on average.
            """
            def both(log_probs, reference_log_probs):
                return log_probs - reference_log_probs
            """,
            # The divergence itself, which needs every action.
            """
            def both(log_probs, reference_log_probs):
                terms = log_probs.exp() * (log_probs - reference_log_probs)
                return terms.sum().expand(log_probs.shape)
            """,
            # The gradient of k2 is detached, and that of k3 is left.
            """
            def both(log_probs, reference_log_probs):
                value = kl_penalty(log_probs, reference_log_probs)
                slope = kl_penalty(log_probs, reference_log_probs, kind="k2")
                return value + (slope - slope).detach()
            """,
        ),
    ),
    3: Answers(
        solution="""
        def prompt_weights(mask, prompts):
            counts = torch.bincount(prompts, weights=mask.sum(1).double())
            return mask / counts[prompts].clamp(min=1)[:, None]
        """,
        hidden="""
        draw = experiments.rng(9)
        for answers, length, kinds in ((12, 7, 3), (20, 4, 9), (1, 3, 1)):
            prompts = torch.from_numpy(draw.integers(0, kinds, size=answers))
            mask = torch.from_numpy(draw.random((answers, length)) < 0.4)
            mask[0, 0] = True
            if answers > 1:
                mask[prompts == prompts[-1]] &= prompts[-1] == prompts[0]
            values = torch.from_numpy(draw.normal(size=(answers, length)))
            weights = prompt_weights(mask, prompts)
            assert weights.isfinite().all(), "some weights are not finite"
            given = Criterion(lambda v: v)(values, weights=weights).item()
            means = [values[prompts == i][mask[prompts == i]] for i in range(kinds)]
            means = [kept.mean().item() for kept in means if len(kept)]
            exact = sum(means) / len(means)
            assert abs(given - exact) < 1e-4, f"of {answers} answers: {given}, not {exact}"
        """,
        wrong=(
            # Every token the same.
            """
            def prompt_weights(mask, prompts):
                return mask.double()
            """,
            # Every answer the same.
            """
            def prompt_weights(mask, prompts):
                return mask / mask.sum(1, keepdim=True).clamp(min=1)
            """,
            # Divided by the number of answers of the prompt as well.
            """
            def prompt_weights(mask, prompts):
                answers = torch.bincount(prompts)[prompts][:, None]
                return mask / mask.sum(1, keepdim=True).clamp(min=1) / answers
            """,
            # A prompt without tokens makes nan.
            """
            def prompt_weights(mask, prompts):
                counts = torch.bincount(prompts, weights=mask.sum(1).double())
                return mask / counts[prompts][:, None]
            """,
        ),
    ),
}
