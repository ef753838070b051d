"""Answers to the exercises of docs/image/total_variation.md."""

from tests.answers import Answers

ANSWERS = {
    1: Answers(
        wrong=(
            # The soft threshold of one number: each goes half of the way.
            """
            def two_pixels(y1, y2, weight):
                step = min(weight / 2, abs(y2 - y1) / 2) * (1 if y2 > y1 else -1)
                return y1 + step, y2 - step
            """,
            # They pass each other.
            """
            def two_pixels(y1, y2, weight):
                step = weight if y2 > y1 else -weight
                return y1 + step, y2 - step
            """,
            # Right for a rise alone.
            """
            def two_pixels(y1, y2, weight):
                step = min(weight, (y2 - y1) / 2)
                return y1 + step, y2 - step
            """,
            # The answer of the squares.
            """
            def two_pixels(y1, y2, weight):
                d = (y2 - y1) / (1 + 4 * weight)
                return (y1 + y2 - d) / 2, (y1 + y2 + d) / 2
            """,
        ),
    ),
    2: Answers(
        wrong=(
            # The sums are of the same picture, are they not?
            """
            def weight_for(weight, k):
                return weight
            """,
            # There are that many more pixels.
            """
            def weight_for(weight, k):
                return weight * k**2
            """,
            # The edge is longer, so it needs less.
            """
            def weight_for(weight, k):
                return weight / k
            """,
        ),
    ),
    3: Answers(
        solution="""
        def levels(height, width, rows, columns, weight):
            area = height * width
            rest = rows * columns - area
            mean = area / (rows * columns)
            pull = weight * 2 * (height + width)
            inside, outside = 1 - pull / area, pull / rest
            return (inside, outside) if inside > outside else (mean, mean)
        """,
        hidden="""
        step = torch.linspace(0, 1, 41, dtype=torch.float64).square()
        cases = (3, 5, 30, 31, 0.4), (8, 8, 11, 12, 0.9), (1, 1, 9, 9, 0.3)
        for h, w, high, wide, weight in cases:
            inside = torch.zeros(1, high, wide, dtype=torch.bool)
            inside[:, 1 : 1 + h, 1 : 1 + w] = True
            answer = torch.tensor([levels(h, w, high, wide, weight)], dtype=torch.float64)
            two = torch.cat([answer, torch.cartesian_prod(step, step)])[..., None, None]
            x = torch.where(inside, two[:, :1], two[:, 1:])
            costs = (x - inside.double()).square().sum((1, 2, 3)) / 2 + weight * total_variation(x)
            assert costs[0] <= costs.min() + 1e-9, f"for {h} x {w} and {weight} others cost less"
        """,
        wrong=(
            # The dark pixels stay as they are.
            """
            def levels(height, width, rows, columns, weight):
                inside = max(0.0, 1 - weight * 2 * (height + width) / (height * width))
                return inside, 0.0
            """,
            # The levels pass each other.
            """
            def levels(height, width, rows, columns, weight):
                area = height * width
                pull = weight * 2 * (height + width)
                return 1 - pull / area, pull / (rows * columns - area)
            """,
            # Half of the boundary.
            """
            def levels(height, width, rows, columns, weight):
                area = height * width
                rest, mean = rows * columns - area, area / (rows * columns)
                pull = weight * (height + width)
                inside, outside = 1 - pull / area, pull / rest
                return (inside, outside) if inside > outside else (mean, mean)
            """,
            # Black when they meet.
            """
            def levels(height, width, rows, columns, weight):
                area = height * width
                pull = weight * 2 * (height + width)
                inside, outside = 1 - pull / area, pull / (rows * columns - area)
                return (inside, outside) if inside > outside else (0.0, 0.0)
            """,
        ),
    ),
}
