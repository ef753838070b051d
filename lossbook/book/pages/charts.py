"""Draws Altair charts at build time: a static SVG, and the compiled Vega that makes it live."""

import json
import re
from html import escape
from typing import Any

VEGA_LITE = "6.4"


def draw(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """Draw a chart.

    Args:
        spec: The Vega-Lite specification, with a `description`: the alt text.
        name: Unique on the site; prefixes the ids inside the SVG.

    Returns:
        The chart's `name`, `svg`, `alt` text, `title` and, where it has sliders, its compiled
        `vega` (else None).

    Raises:
        ValueError: If the chart has no description.
    """
    import vl_convert

    spec = dict(spec)
    alt, title = spec.get("description", ""), spec.pop("title", "")
    if not alt:
        raise ValueError("the chart has no description (its alt text)")
    svg = _themed(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE))
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt, quote=True)}" ', 1)
    live = any("bind" in p for p in spec.get("params", []))
    vega = vl_convert.vegalite_to_vega(spec, vl_version=VEGA_LITE) if live else None
    return {
        "name": name,
        "svg": svg,
        "alt": alt,
        "title": title,
        "vega": json.loads(_themed(json.dumps(vega))) if vega else None,
    }


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
