"""Answers to the exercises of docs/language/auxiliary.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The largest logit, which only makes it near.
            """
            def best_shift(logits):
                return -logits.max(dim=1)[0]
            """,
            # The mean: logits around 0 are not log-probabilities.
            """
            def best_shift(logits):
                return -logits.mean(dim=1)
            """,
            # The sign turned.
            """
            def best_shift(logits):
                return logits.logsumexp(dim=1)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The share of the experts.
            """
            def collapsed(experts, n):
                return n / experts
            """,
            # The worst case, however many are left.
            """
            def collapsed(experts, n):
                return experts
            """,
            # The square of the share, without the sum over the experts.
            """
            def collapsed(experts, n):
                return experts / n**2
            """,
        ),
    ),
    3: Answers(
        solution="""
        def local_losses(parts):
            experts, tokens = parts[0].shape[1], sum(len(part) for part in parts)
            counts = sum(torch.bincount(part.argmax(1), minlength=experts) for part in parts)
            likely = [part.softmax(dim=1).sum(dim=0) for part in parts]
            return [experts / tokens**2 * (counts * p).sum() for p in likely]
        """,
        hidden="""
        for sizes in ((3, 3), (1, 20, 6)):
            draws = [experiments.rng(10 + k).normal(0, 2, (n, 5)) for k, n in enumerate(sizes)]
            leaves = [torch.from_numpy(d).requires_grad_() for d in draws]
            whole = load_balancing_loss(torch.cat(leaves))
            expected = torch.autograd.grad(whole, leaves)
            said = local_losses(leaves)
            assert abs(sum(said) - whole) < 1e-6, f"with {sizes} tokens the sum is off"
            slopes = torch.autograd.grad(sum(said), leaves, allow_unused=True)
            pairs = zip(slopes, expected)
            same = all(a is not None and torch.allclose(a, b, atol=1e-7) for a, b in pairs)
            assert same, f"with {sizes} tokens the gradient is off"
            others = torch.autograd.grad(local_losses(leaves)[0], leaves[1:], allow_unused=True)
            alone = all(slope is None or not slope.any() for slope in others)
            assert alone, f"with {sizes} tokens one device moves another's logits"
        """,
        wrong=(
            # The mean of the devices' own losses.
            """
            def local_losses(parts):
                return [load_balancing_loss(part) / len(parts) for part in parts]
            """,
            # The counts of the device alone, the probabilities of all.
            """
            def local_losses(parts):
                experts, tokens = parts[0].shape[1], sum(len(part) for part in parts)
                likely = [part.softmax(dim=1).sum(dim=0) for part in parts]
                own = [torch.bincount(part.argmax(1), minlength=experts) for part in parts]
                mean = [p + sum(likely).detach() - p.detach() for p in likely]
                return [experts / tokens**2 * (f * p).sum() for f, p in zip(own, mean)]
            """,
            # The right sum by a constant.
            """
            def local_losses(parts):
                losses = [load_balancing_loss(part) / len(parts) for part in parts]
                rest = load_balancing_loss(torch.cat(parts)) - sum(losses)
                return [loss + rest.detach() / len(parts) for loss in losses]
            """,
            # Their own losses, weighed by their tokens.
            """
            def local_losses(parts):
                tokens = sum(len(part) for part in parts)
                return [load_balancing_loss(part) * len(part) / tokens for part in parts]
            """,
            # Global shares, but each device's own mean of the probabilities.
            """
            def local_losses(parts):
                experts, tokens = parts[0].shape[1], sum(len(part) for part in parts)
                counts = sum(torch.bincount(part.argmax(1), minlength=experts) for part in parts)
                shares = counts / tokens
                return [
                    experts * (shares * part.softmax(dim=1).mean(dim=0)).sum() / len(parts)
                    for part in parts
                ]
            """,
            # The value is right, and the gradients cancel.
            """
            def local_losses(parts):
                whole = load_balancing_loss(torch.cat(parts)).detach()
                first = load_balancing_loss(parts[0])
                return [first, whole - first]
            """,
            # All on one device: the other's logits are moved from afar.
            """
            def local_losses(parts):
                whole = load_balancing_loss(torch.cat(parts))
                return [whole / len(parts) for part in parts]
            """,
        ),
    ),
}
