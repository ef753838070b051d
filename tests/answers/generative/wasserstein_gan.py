"""Answers to the exercises of docs/generative/wasserstein_gan.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The gap as it is.
            """
            def distance(gap, target):
                return gap
            """,
            # That of the first two cases, whatever is asked.
            """
            def distance(gap, target):
                return 2.0
            """,
            # Multiplied for divided.
            """
            def distance(gap, target):
                return gap * target
            """,
            # As if the slope were squared in the gap.
            """
            def distance(gap, target):
                return gap / target**2
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The longer sample is cut off.
            """
            def on_a_line(real, fake):
                n = min(len(real), len(fake))
                return (real.sort()[0][:n] - fake.sort()[0][:n]).abs().mean().item()
            """,
            # Copies are not put next to each other.
            """
            def on_a_line(real, fake):
                real, fake = real.sort()[0].repeat(len(fake)), fake.sort()[0].repeat(len(real))
                return (real - fake).abs().mean().item()
            """,
            # The distance of the means.
            """
            def on_a_line(real, fake):
                return abs(real.mean() - fake.mean()).item()
            """,
            # Wasserstein-2.
            """
            def on_a_line(real, fake):
                n, m = len(real), len(fake)
                gap = real.sort()[0].repeat_interleave(m) - fake.sort()[0].repeat_interleave(n)
                return gap.square().mean().sqrt().item()
            """,
        ),
    ),
    3: Answers(
        solution="""
        def one_sided(w):
            return (w.norm() - 1).clamp(min=0) ** 2
        """,
        hidden="""
        for length in (0.0, 0.5, 0.99, 1.5, 10.0):
            w = torch.tensor([0.6, 0.0, 0.8]) * length
            expected = max(0.0, length - 1) ** 2
            assert abs(float(one_sided(w)) - expected) < 1e-4, f"at slope {length} it is wrong"
        flat = torch.zeros(2, requires_grad=True)
        one_sided(flat).sum().backward()
        assert flat.grad.isfinite().all(), "at slope 0 its gradient is nan"
        """,
        wrong=(
            # Both sides.
            """
            def one_sided(w):
                return (w.norm() - 1) ** 2
            """,
            # Each coordinate by itself.
            """
            def one_sided(w):
                return ((w.abs() - 1).clamp(min=0) ** 2).sum()
            """,
            # A root that has no slope at 0.
            """
            def one_sided(w):
                return ((w * w).sum().sqrt() - 1).clamp(min=0) ** 2
            """,
            # The squared norm.
            """
            def one_sided(w):
                return (w.square().sum() - 1).clamp(min=0) ** 2
            """,
        ),
    ),
}
