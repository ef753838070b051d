"""Figures for chapters: Altair charts with alt text, computed by the functions they show."""

import base64
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import torch
from torch import Tensor

__all__ = [
    *("Pictures", "Table", "bands", "bars", "curves", "descents", "loss_and_gradient"),
    *("framed", "signed"),
]

# Okabe and Ito's colors, told apart by readers with any color vision.
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4]]
INK = "#1b1b1f"
MAP = 300  # Either side of a map, on a wide page and on a narrow one: its angles are true.


def _theme() -> dict[str, Any]:
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 13}
    return {
        "background": None,
        "config": {
            "font": "Inter, sans-serif",
            "padding": {"left": 12, "top": 5, "bottom": 5, "right": 24},
            "axis": {
                **text,
                "domainColor": INK,
                "tickColor": INK,
                "gridColor": INK,
                "gridOpacity": 0.12,
                "titleFontWeight": "normal",
                "titlePadding": 10,
            },
            "legend": {
                **text,
                "orient": "top",
                "title": None,
                "columnPadding": 36,
                "labelLimit": 0,
                "symbolStrokeWidth": 2.5,
            },
            "line": {"strokeWidth": 2.5},
            "range": {"category": COLORS},
            "text": {"color": INK, "fontSize": 12},
            "view": {"stroke": None},
        },
    }


alt.theme.register("lossbook", enable=True)(_theme)


def loss_and_gradient(
    loss: Callable[..., Tensor],
    x: tuple[float, float],
    *,
    inputs: Callable[[Tensor], tuple[Tensor, ...]],
    sliders: Mapping[str, Sequence[float]],
    at: Mapping[str, float],
    x_title: str,
    alt_text: str,
    settings: Mapping[str, Any] | None = None,
    reference: tuple[str, Callable[..., Tensor]] | None = None,
    clip: tuple[float, float] | None = None,
) -> alt.ConcatChart:
    """Draw a loss and its gradient along `x`, with a slider for each setting.

    Every number is computed here by `loss` and autograd, on the grid that the sliders step through.

    Args:
        loss: The vetted function.
        x: The ends of the horizontal axis.
        inputs: Turns the 81 points of the axis into the inputs of `loss`.
        sliders: For each setting, the equally spaced values to step through.
        at: The values that the chart starts with.
        x_title: What x is.
        alt_text: What the chart shows, in a sentence; the numbers are added.
        settings: Further settings of `loss`, fixed.
        reference: Name and function of a loss to compare with, drawn for the same x.
        clip: Range of the vertical axis of the loss.

    Returns:
        Two panels, loss and gradient.
    """
    axis = torch.from_numpy(np.linspace(*x, 81))
    name = loss.__name__

    def rows(label: str, function: Callable[..., Tensor], **chosen: float) -> list[dict[str, Any]]:
        point = axis.clone().requires_grad_()
        fixed = (settings or {}) if function is loss else {}
        value = function(*inputs(point), **chosen, **fixed)
        (slope,) = torch.autograd.grad(value.sum(), point)
        return [
            {"x": a, "loss": b, "gradient": c, "curve": label, **chosen}
            for a, b, c in zip(_rounded(axis), _rounded(value), _rounded(slope), strict=True)
        ]

    grid = [dict(zip(sliders, v, strict=True)) for v in itertools.product(*sliders.values())]
    data = [row for chosen in grid for row in rows(name, loss, **chosen)]
    order = [name]
    if reference:
        order.append(reference[0])
        data += rows(reference[0], reference[1])

    shown = rows(name, loss, **at)
    ends = "; ".join(
        f"at {x_title} {row['x']:.3g} the loss is {row['loss']:.3g} and its gradient "
        f"{row['gradient']:.3g}"
        for row in (shown[0], shown[len(shown) // 2], shown[-1])
    )
    shown_at = ", ".join(f"{k} = {v:g}" for k, v in at.items())
    chart = alt.Chart(alt.Data(values=data)).transform_filter(
        " && ".join(
            [f"(!isValid(datum.{k}) || abs(datum.{k} - {k}_value) < 1e-6)" for k in sliders]
            or ["1"]
        )
    )
    for k, values in sliders.items():
        step = float(values[1] - values[0])
        slider = alt.binding_range(min=values[0], max=values[-1], step=step, name=f"{k} ")
        chart = chart.add_params(alt.param(name=f"{k}_value", value=at[k], bind=slider))
    panels = []
    for field, scale in (("loss", clip), ("gradient", None)):
        panels.append(
            chart.mark_line(clip=True).encode(
                alt.X("x:Q", title=x_title),
                alt.Y(
                    f"{field}:Q",
                    title=field,
                    scale=alt.Scale(domain=list(scale)) if scale else alt.Undefined,
                ),
                alt.Color("curve:N", sort=order, legend=alt.Legend() if reference else None),
                alt.StrokeDash("curve:N", sort=order, scale=alt.Scale(range=DASHES), legend=None),
            )
        )
    description = (
        f"{alt_text} Shown for {shown_at}: {ends}." if at else f"{alt_text} Shown: {ends}."
    )
    return alt.concat(*panels, columns=2).properties(description=description)


def curves(
    x: Sequence[float] | Tensor,
    lines: Mapping[str, Sequence[float] | Tensor],
    *,
    x_title: str,
    y_title: str,
    alt_text: str,
    log: bool = False,
    log_x: bool = False,
) -> alt.Chart:
    """Draw several curves over one x; the alt text is completed with each curve's ends."""
    data = [
        {"x": a, "y": b, "curve": name}
        for name, y in lines.items()
        for a, b in zip(_rounded(x), _rounded(y), strict=True)
    ]
    ends = "; ".join(
        f"{name} goes from {_rounded(y)[0]:.3g} to {_rounded(y)[-1]:.3g}"
        for name, y in lines.items()
    )
    order = list(lines)
    along = alt.Scale(type="log", nice=False)  # To the last point, not to the next power of ten.
    return (
        alt.Chart(alt.Data(values=data))
        .mark_line()
        .encode(
            alt.X("x:Q", title=x_title, scale=along if log_x else alt.Undefined),
            alt.Y("y:Q", title=y_title, scale=alt.Scale(type="log") if log else alt.Undefined),
            alt.Color("curve:N", sort=order, legend=alt.Legend() if len(order) > 1 else None),
            alt.StrokeDash("curve:N", sort=order, scale=alt.Scale(range=DASHES), legend=None),
        )
        .properties(description=f"{alt_text} {ends}.")
    )


def bars(
    values: Mapping[str, float], *, x_title: str, alt_text: str, log: bool = False
) -> alt.Chart:
    """Draw one horizontal bar a name; the alt text is completed with the values."""
    data = [{"name": name, "value": float(value)} for name, value in values.items()]
    listed = ", ".join(f"{row['name']} {row['value']:.3g}" for row in data)
    return (
        alt.Chart(alt.Data(values=data))
        .mark_bar(height=18)
        .encode(
            alt.X("value:Q", title=x_title, scale=alt.Scale(type="log") if log else alt.Undefined),
            alt.Y("name:N", title=None, sort=list(values), axis=alt.Axis(labelLimit=220)),
        )
        .properties(description=f"{alt_text} {listed}.")
    )


def descents(
    rings: Sequence[Tensor],
    paths: Mapping[float, Tensor],
    *,
    at: float,
    slider: str,
    x: tuple[str, float, float],
    y: tuple[str, float, float],
    alt_text: str,
) -> alt.LayerChart:
    """Draw paths over rings of equal loss, one path at a time, chosen by a slider.

    Args:
        rings: The points of each ring, shape `(2, K)`.
        paths: For each of equally spaced values of the slider, the points, shape `(K, 2)`.
        at: The value that the chart starts with.
        slider: Its name.
        x: Title and ends of the horizontal axis.
        y: Title and ends of the vertical axis.
        alt_text: What the chart shows, in a sentence; the ends of the path are added.

    Returns:
        A map.
    """
    line = {
        "x": alt.X("x:Q", title=x[0], scale=alt.Scale(domain=list(x[1:]))),
        "y": alt.Y("y:Q", title=y[0], scale=alt.Scale(domain=list(y[1:]))),
        "order": alt.Order("k:Q"),
    }
    around = [
        {"ring": i, "k": k, "x": a, "y": b}
        for i, ring in enumerate(rings)
        for k, (a, b) in enumerate(zip(_rounded(ring[0]), _rounded(ring[1]), strict=True))
    ]
    steps = [
        {"value": value, "k": k, "x": a, "y": b}
        for value, path in paths.items()
        for k, (a, b) in enumerate(zip(_rounded(path[:, 0]), _rounded(path[:, 1]), strict=True))
    ]
    values = list(paths)
    binding = alt.binding_range(
        min=values[0], max=values[-1], step=round(values[1] - values[0], 6), name=f"{slider} "
    )
    surface = alt.Chart(alt.Data(values=around)).mark_line(
        filled=True, clip=True, opacity=0.15, color=COLORS[0]
    )
    walk = alt.Chart(alt.Data(values=steps)).mark_line(
        clip=True, point={"color": COLORS[1], "size": 25}, strokeJoin="round", color=COLORS[1]
    )
    walk = walk.add_params(alt.param(name="shown", value=at, bind=binding))
    walk = walk.transform_filter("abs(datum.value - shown) < 1e-6")
    (a, b), (c, d) = paths[at][0].tolist(), paths[at][-1].tolist()
    described = (
        f"{alt_text} At {slider} {at:g} it goes from ({a:.2f}, {b:.2f}) to ({c:.2f}, {d:.2f})."
    )
    return (surface.encode(detail="ring:N", **line) + walk.encode(**line)).properties(
        width=MAP, height=MAP, description=described
    )


def bands(
    side: Sequence[float] | Tensor,
    heights: Tensor,
    edges: Sequence[float],
    places: Mapping[str, tuple[float, float]],
    *,
    x_title: str,
    y_title: str,
    alt_text: str,
) -> alt.LayerChart:
    """Draw a surface over a square as bands of height, with named places on it.

    Args:
        side: The equally spaced points of either axis.
        heights: The surface, shape `(K, K)`, the first dimension along the horizontal axis.
        edges: Where one band ends and the next begins.
        places: Names and positions.
        x_title: What the horizontal axis is.
        y_title: What the vertical axis is.
        alt_text: What the chart shows.

    Returns:
        A map.
    """
    along = _rounded(side)
    half = (along[1] - along[0]) / 2
    lowest = [0.0, *edges]
    tiles = []
    for u, row in zip(along, np.searchsorted(edges, heights.detach().numpy()), strict=True):
        for band, run in itertools.groupby(range(len(along)), key=row.__getitem__):
            first, *_, last = [*run] * 2
            ends = {"v": along[first] - half, "v2": along[last] + half}
            tiles.append({"u": u - half, "u2": u + half, **ends, "loss": lowest[band]})
    frame = alt.Scale(domain=[along[0] - half, along[-1] + half], nice=False)
    shades = np.linspace(0.02, 0.5, len(lowest)).round(3).tolist()
    surface = (
        alt.Chart(alt.Data(values=tiles))
        .mark_rect(color=COLORS[0])
        .encode(
            alt.X("u:Q", title=x_title, scale=frame),
            alt.Y("v:Q", title=y_title, scale=frame),
            alt.Opacity(
                "loss:Q",
                scale=alt.Scale(type="threshold", domain=list(edges), range=shades),
                legend=alt.Legend(columns=3),
            ),
            x2="u2:Q",
            y2="v2:Q",
        )
    )
    named = [{"u": u, "v": v, "name": name} for name, (u, v) in places.items()]
    marks = alt.Chart(alt.Data(values=named)).encode(x="u:Q", y="v:Q")
    dots = marks.mark_point(color=COLORS[1], filled=True, size=60, opacity=1)
    names = marks.mark_text(dx=10, dy=-10, color=INK).encode(text="name:N")
    return (surface + dots + names).properties(width=MAP, height=MAP, description=alt_text)


class Table:
    """A small table for a page: HTML there, aligned text elsewhere."""

    def __init__(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self.header = list(header)
        self.rows = [[f"{c:.4g}" if isinstance(c, float) else str(c) for c in row] for row in rows]

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [self.header, *self.rows]
        return "\n".join(
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        from html import escape

        head = "".join(f"<th>{escape(c)}</th>" for c in self.header)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in self.rows
        )
        return f'<table class="data"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


class Pictures:
    """Pictures side by side, each above its caption, for either theme.

    Args:
        images: For each caption the values, from 0 (black) to 1: `(H, W)`, `(H, W, 3)` or booleans.
        alt_text: What is to be seen, in a sentence or two; the captions stand on the page anyway.
        width: How wide each is drawn on a wide page, in pixels; small ones are enlarged.
    """

    def __init__(self, images: Mapping[str, Tensor], *, alt_text: str, width: int = 180) -> None:
        self.images, self.alt_text, self.width = dict(images), alt_text, width

    def __repr__(self) -> str:
        return f"{self.alt_text} ({'; '.join(self.images)})"

    def _repr_html_(self) -> str:
        from html import escape

        first, *rest = (
            f'<figure><img src="{_png(image)}" width="{self.width}" alt="{{}}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
            for caption, image in self.images.items()
        )
        told = "".join([first.format(escape(self.alt_text)), *(other.format("") for other in rest)])
        return f'<figure class="pictures">{told}</figure>'


def framed(image: Tensor, *frames: Tensor, zoom: int = 4) -> Tensor:
    """Enlarge a gray picture for `Pictures` and draw boxes on it, a color for each set of boxes.

    Args:
        image: Values in [0, 1], shape `(H, W)`.
        *frames: Boxes as corners (x1, y1, x2, y2), shape `(G, 4)`; what lies outside is cut off.
        zoom: How many pixels wide a pixel becomes.

    Returns:
        The picture, shape `(zoom H, zoom W, 3)`.
    """
    drawn = image.repeat_interleave(zoom, 0).repeat_interleave(zoom, 1)[..., None].repeat(1, 1, 3)
    height, width, _ = drawn.shape
    for color, boxes in zip(_FRAMES, frames, strict=False):
        paint = torch.tensor([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        for box in (boxes * zoom).round().long().tolist():
            x1, x2 = (min(max(x, 0), width - 2) for x in box[::2])
            y1, y2 = (min(max(y, 0), height - 2) for y in box[1::2])
            for x, y in zip((x1, x2), (y1, y2), strict=True):
                drawn[y : y + 2, x1 : x2 + 2] = paint
                drawn[y1 : y2 + 2, x : x + 2] = paint
    return drawn


_FRAMES = ["#f0e442", "#d55e00", "#56b4e9"]  # Bright ones: they lie on dark pictures.


def signed(values: Tensor) -> Tensor:
    """Color a map for `Pictures`: blue below 0, white at 0, orange above, by size."""
    share = (values / values.abs().max().clamp(min=1e-12)).unsqueeze(-1)
    below, above = (torch.tensor([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in COLORS[:2])
    full = torch.where(share < 0, below, above) / 255
    return 1 - share.abs() * (1 - full)


def _png(values: Tensor) -> str:
    """Encode values in [0, 1] as the address of a PNG that holds them."""
    from PIL import Image

    bytes_ = (values.detach().double().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(bytes_).save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _rounded(values: Sequence[float] | Tensor) -> list[float]:
    """Keep five significant digits: more than a figure shows, and less to load."""
    array = values.detach().numpy() if isinstance(values, Tensor) else np.asarray(values, float)
    return [float(f"{v:.5g}") for v in array.ravel()]
