"""Draws Altair charts at build time: static SVGs, and the compiled Vega that makes them live.

A figure is drawn twice: wide, with its panels side by side, and narrow, with one above the other.
The page shows the one that fits.
"""

import json
import re
from collections.abc import Mapping
from functools import partial
from html import escape
from typing import Any

VEGA_LITE = "6.4"
# Width and height of a panel: wide and alone, wide and beside another, narrow.
ALONE, BESIDE, NARROW = (780, 240), (350, 240), (280, 180)


def draw(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """Draw a chart.

    Args:
        spec: The Vega-Lite specification, with a `description`: the alt text.
        name: Unique on the site; prefixes the ids inside the SVG.

    Returns:
        The chart's `name`, its `svg`, the `narrow` one, `alt` text, `title` and, where it has
        sliders, its compiled `vega` (else None).

    Raises:
        ValueError: If the chart has no description.
    """
    spec = dict(spec)
    alt, title = spec.get("description", ""), spec.pop("title", "")
    if not alt:
        raise ValueError("the chart has no description (its alt text)")
    wide, narrow = _sized(spec, wide=True), _sized(spec, wide=False)
    live = any("bind" in p for p in spec.get("params", []))
    return {
        "name": name,
        "svg": _svg(wide, alt, name),
        "narrow": _svg(narrow, alt, f"{name}-narrow"),
        "alt": alt,
        "title": title,
        "vega": json.loads(_themed(json.dumps(_vega(wide, narrow)))) if live else None,
    }


def figure(chart: Mapping[str, Any], caption: str) -> str:
    """Put a drawn chart on a page, as HTML at the start of a line, which Markdown leaves alone."""
    live = f' data-chart="{chart["name"]}"' if chart["vega"] else ""
    drawn = "".join(
        chart[key].replace("<svg ", f'<svg class="{size}" ', 1)
        for key, size in (("svg", "wide"), ("narrow", "narrow"))
    )
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="chart" data-search-exclude{live}>{drawn}{told}</figure>\n\n'


def _sized(spec: dict[str, Any], *, wide: bool) -> dict[str, Any]:
    """Give the panels the size that fits a wide or a narrow page, unless the chart fixes it."""
    several = "concat" in spec
    width, height = (BESIDE if several else ALONE) if wide else NARROW
    config = spec.get("config", {})
    view = {**config.get("view", {}), "continuousWidth": width, "continuousHeight": height}
    legend = {**config.get("legend", {}), "columns": 0 if wide else 1}
    columns = {"columns": spec.get("columns", 2) if wide else 1} if several else {}
    return {**spec, **columns, "config": {**config, "view": view, "legend": legend}}


def _svg(spec: dict[str, Any], alt: str, name: str) -> str:
    import vl_convert

    svg = _lean(_themed(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)))
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt, quote=True)}" ', 1)


def _lean(svg: str) -> str:
    """Drop what is not seen of a drawing that is read as one image; keep tenths of pixels."""
    unpainted = r"(?![^>]*(?:fill|stroke)=)"
    svg = re.sub(rf'<path class="(?:background|foreground)"{unpainted}[^>]*/>', "", svg)
    svg = re.sub(r' (?:aria-[a-z]+|role|pointer-events)="[^"]*"', "", svg)
    svg = re.sub(r' (?:opacity="1"|transform="translate\(0,0\)")', "", svg)
    tenths = partial(re.sub, r"-?\d+\.\d+(?:e-?\d+)?", lambda n: f"{float(n[0]):.1f}")
    return re.sub(r' (?:d|transform)="[^"]*"', lambda part: tenths(part[0]), svg)


def _vega(wide: dict[str, Any], narrow: dict[str, Any]) -> dict[str, Any]:
    """Compile a live chart; `usermeta` tells the signals that make it wide or narrow."""
    import vl_convert

    same = {k: wide[k] for k in ("columns",) if k in wide}
    vega, other = (
        dict(vl_convert.vegalite_to_vega(spec, vl_version=VEGA_LITE))
        for spec in (wide, {**narrow, **same})
    )
    sizes: dict[str, dict[str, float]] = {
        size: {s["name"]: s["value"] for s in made.get("signals", []) if "value" in s}
        | {side: made[side] for side in ("width", "height") if side in made}
        for size, made in (("wide", vega), ("narrow", other))
    }
    vega.setdefault("signals", []).append({"name": "columns", "value": same.get("columns", 0)})
    if same:
        vega["layout"]["columns"] = {"signal": "columns"}
    for part in (vega, *vega.get("marks", [])):
        for legend in part.get("legends", []):
            legend["columns"] = {"signal": "columns == 1 ? 1 : 0"}
    vega["usermeta"] = {
        size: {"columns": same.get("columns", 0) if size == "wide" else 1}
        | {k: named[k] for k in named if sizes["wide"][k] != sizes["narrow"][k]}
        for size, named in sizes.items()
    }
    return vega


def _themed(text: str) -> str:
    """Replace the plain colors of `plots` by those of the page's theme."""
    from lossbook.book.plots import COLORS, INK

    for i, color in enumerate(COLORS, 1):
        text = text.replace(color, f"var(--chart-{i})")
    return text.replace(INK, "currentColor")


def plain(svg: str) -> str:
    """Give a drawn chart fixed colors again, for readers without the page's style."""
    from lossbook.book.plots import COLORS, INK

    for i, color in enumerate(COLORS, 1):
        svg = svg.replace(f"var(--chart-{i})", color)
    return svg.replace("currentColor", INK)
