"""Answers to the exercises of docs/segmentation/gradient_consistency.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # An edge must be where the image's edge is.
            """
            def free():
                return set()
            """,
            # The negative is the wrong way round.
            """
            def free():
                return {"a"}
            """,
            # What stands around the same center.
            """
            def free():
                return {"a", "b", "c"}
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # One edge is wrong.
            """
            def displaced(h, w, k):
                return 1 / (w - 1)
            """,
            # It grows with the distance.
            """
            def displaced(h, w, k):
                return 2 * k / (w - 1)
            """,
            # The mean over all pixels.
            """
            def displaced(h, w, k):
                return 2 / w
            """,
        ),
    ),
    3: Answers(
        solution="""
        from torch.nn.functional import conv2d, pad

        def color_consistency(masks, images):
            side = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=masks.dtype)
            kernels = torch.stack([side, side.mT])[:, None]

            def gradients(x):
                flat = pad(x.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
                return conv2d(flat, kernels).unflatten(0, x.shape[:2])

            m, i = gradients(masks)[:, 0], gradients(images)
            longest = i.norm(dim=2).argmax(1)[:, None, None].expand(-1, -1, 2, -1, -1)
            i = i.gather(1, longest)[:, 0]
            size, contrast = m.norm(dim=1), i.norm(dim=1)
            crosses = (m[:, 0] * i[:, 1] - m[:, 1] * i[:, 0]).square()
            costs = crosses / (size * contrast.square()).clamp(min=1e-300)
            return costs.sum((1, 2)) / size.sum((1, 2))
        """,
        hidden="""
        draw = experiments.rng(8)
        masks, parts = (torch.from_numpy(draw.uniform(size=(3, c, 8, 9))) for c in (1, 3))
        for k in range(3):
            scale = torch.full((3, 1, 1), 1e-4, dtype=torch.float64)
            scale[k] = 1
            right = gradient_consistency_loss(masks, parts[:, k : k + 1])
            assert torch.allclose(color_consistency(masks, parts * scale), right), "not the longest"
        opposed = torch.cat([parts[:, :1], -0.9 * parts[:, :1], 0 * parts[:, :1]], dim=1)
        right = gradient_consistency_loss(masks, parts[:, :1])
        assert torch.allclose(color_consistency(masks, opposed), right), "channels may be opposed"
        x, y = torch.meshgrid(torch.arange(16.0), torch.arange(12.0), indexing="xy")
        core, pad = torch.from_numpy(draw.uniform(size=(2, 1, 6, 4))), torch.nn.functional.pad
        masks = torch.cat([pad(core[:1], (2, 10, 3, 3)), pad(core[1:], (10, 2, 3, 3))])
        picture = torch.stack([x.clamp(max=8), 0.8 * y, 0.8 * y])[None].double()
        answer = color_consistency(masks, picture.expand(2, -1, -1, -1))
        ways = [way[None, None].double() for way in (x, y)]
        pairs = zip(masks.split(1), ways)
        right = torch.cat([gradient_consistency_loss(m, way) for m, way in pairs])
        assert torch.allclose(answer, right), "the longest gradient, at each pixel"
        """,
        wrong=(
            # Gray.
            """
            def color_consistency(masks, images):
                return gradient_consistency_loss(masks, images.mean(1, keepdim=True))
            """,
            # The mean of the channels' losses.
            """
            def color_consistency(masks, images):
                parts = [gradient_consistency_loss(masks, x) for x in images.split(1, dim=1)]
                return torch.stack(parts).mean(0)
            """,
            # The best channel of the image, not of the pixel.
            """
            def color_consistency(masks, images):
                parts = [gradient_consistency_loss(masks, x) for x in images.split(1, dim=1)]
                return torch.stack(parts).amin(0)
            """,
        ),
    ),
}
