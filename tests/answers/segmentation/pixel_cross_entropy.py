"""Answers to the exercises of docs/segmentation/pixel_cross_entropy.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The weights once more.
            """
            def unweighted(logits, weights):
                return (logits + weights.log().view(1, -1, 1, 1)).softmax(dim=1)
            """,
            # Nothing to take back.
            """
            def unweighted(logits, weights):
                return logits.softmax(dim=1)
            """,
            # Divided, and no longer probabilities.
            """
            def unweighted(logits, weights):
                return logits.softmax(dim=1) / weights.view(1, -1, 1, 1)
            """,
            # The weights themselves in place of their logarithms.
            """
            def unweighted(logits, weights):
                return (logits - weights.view(1, -1, 1, 1)).softmax(dim=1)
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # One vote for each image.
            """
            def votes(labels, classes):
                known = (labels != 255).float()
                return known / known.sum((1, 2), keepdim=True).clamp(min=1)
            """,
            # Counted over the batch, not the image.
            """
            def votes(labels, classes):
                known = labels != 255
                safe = labels.where(known, classes)
                return known / safe.flatten().bincount(minlength=classes + 1)[safe]
            """,
            # Void pixels counted as the last class.
            """
            def votes(labels, classes):
                known = labels != 255
                safe = labels.where(known, classes - 1).flatten(1)
                counts = F.one_hot(safe, classes).sum(dim=1)
                return known / counts.gather(1, safe).view(labels.shape)
            """,
            # The last class is left out.
            """
            def votes(labels, classes):
                weights = torch.zeros(labels.shape)
                for image, weight in zip(labels, weights):
                    for j in range(classes - 1):
                        weight[image == j] = 1 / (image == j).sum().clamp(min=1)
                return weights
            """,
            # Void pixels counted as class 0.
            """
            def votes(labels, classes):
                known = labels != 255
                safe = labels.where(known, 0).flatten(1)
                counts = F.one_hot(safe, classes).sum(dim=1)
                return known / counts.gather(1, safe).view(labels.shape)
            """,
        ),
    ),
    3: Answers(
        solution="""
        def tile_weights(height, width, size, stride):
            whole = torch.ones(1, 1, height, width)
            tiles = F.unfold(whole, size, stride=stride)
            count = F.fold(tiles, (height, width), size, stride=stride)
            return F.unfold(1 / count, size, stride=stride)[0].T.view(-1, size, size)
        """,
        hidden="""
        for height, width, size, stride in ((9, 7, 3, 2), (10, 6, 6, 4), (5, 5, 5, 1)):
            given = tile_weights(height, width, size, stride).float()
            picture = torch.arange(1.0, height * width + 1).square().view(1, 1, height, width)
            tiles = F.unfold(picture, size, stride=stride)[0].T.view(-1, size, size)
            assert given.shape == tiles.shape, f"the shape is {tuple(given.shape)}"
            assert torch.allclose((given * tiles).sum(), picture.sum()), "the sums are not equal"
            for place in picture.flatten():
                assert given[tiles == place].std(correction=0) < 1e-5, "a pixel's weights differ"
        """,
        wrong=(
            # As if each pixel were in the same number of tiles.
            """
            def tile_weights(height, width, size, stride):
                rows, columns = (height - size) // stride + 1, (width - size) // stride + 1
                share = height * width / (rows * columns * size * size)
                return torch.full((rows * columns, size, size), share)
            """,
            # The first tile that holds a pixel has all its weight.
            """
            def tile_weights(height, width, size, stride):
                places = torch.arange(1.0, height * width + 1).view(1, 1, height, width)
                places = F.unfold(places, size, stride=stride)[0].T.view(-1, size, size)
                weights, seen = torch.zeros(places.shape), set()
                for k in range(len(places)):
                    new = [[int(v) not in seen for v in row] for row in places[k].tolist()]
                    weights[k] = torch.tensor(new).float()
                    seen |= {int(v) for v in places[k].flatten().tolist()}
                return weights
            """,
            # The tiles of a column one after the other.
            """
            def tile_weights(height, width, size, stride):
                whole = torch.ones(1, 1, width, height)
                tiles = F.unfold(whole, size, stride=stride)
                count = F.fold(tiles, (width, height), size, stride=stride)
                return F.unfold(1 / count, size, stride=stride)[0].T.view(-1, size, size)
            """,
            # Multiplied where it should be divided.
            """
            def tile_weights(height, width, size, stride):
                whole = torch.ones(1, 1, height, width)
                tiles = F.unfold(whole, size, stride=stride)
                count = F.fold(tiles, (height, width), size, stride=stride)
                return F.unfold(count, size, stride=stride)[0].T.view(-1, size, size)
            """,
            # As if tiles did not overlap.
            """
            def tile_weights(height, width, size, stride):
                return torch.ones((height // stride) * (width // stride), size, size)
            """,
        ),
    ),
}
