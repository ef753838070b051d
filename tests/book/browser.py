"""What the tests in a browser share: pages, sizes, and what is asked of a figure."""

import http.server
import re
import shutil
from pathlib import Path

import pytest

HOME = ""
FOCAL, HUBER = "classification/focal/", "regression/huber/"
CHAPTERS = [FOCAL, HUBER, "classification/cross_entropy/"]
every_page = pytest.mark.parametrize("path", [HOME, *CHAPTERS])
every_chapter = pytest.mark.parametrize("path", CHAPTERS)
both_schemes = pytest.mark.parametrize("scheme", ["light", "dark"])

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}
# Instant navigation works only at the address for which the site was built, and a page may use the
# clipboard only there or below localhost.
SITE = "http://book.localhost/"
NO_INDEX = {
    "config": {"lang": ["en"], "separator": " ", "pipeline": [], "fields": {}},
    "docs": [],
}
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-quic"),
)


def executable(playwright):
    """The path of a Chromium: the system's, else Playwright's own, else None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    own = playwright.chromium.executable_path
    found = [path for name in names if (path := shutil.which(name))]
    return next(iter([*found, *([own] if Path(own).exists() else [])]), None)


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def reach_every_figure(page):
    """Scroll to each live figure and wait until it lives."""
    figures = page.locator("figure[data-chart]").all()
    page.mouse.move(3, 3)  # A reader who is there.
    for figure in figures:
        figure.scroll_into_view_if_needed()
        figure.locator(".controls").wait_for()
    return figures


def unfold(page):
    page.locator("article details").evaluate_all("all => all.forEach(e => { e.open = true; })")


# Of a figure's two drawings, the one that is shown.
SHOWN = "[...e.querySelectorAll('svg')].filter(s => s.getClientRects().length)"
MARKS = f"{SHOWN}.flatMap(s => [...s.querySelectorAll('g.mark-line path, g.mark-rect path')])"
DRAWN = f"{SHOWN}.flatMap(s => [...s.querySelectorAll('g.role-mark > *')])"
PAINT = "(s => s.stroke === 'none' ? s.fill : s.stroke)(getComputedStyle(p))"
NUMBERS = r"/-?[\d.]+(e-?\d+)?/g"
LINES = f"e => {MARKS}.flatMap(p => p.getAttribute('d').match({NUMBERS}).map(Number))"


def luminance(color):
    """Of an `rgb()` color, as WCAG defines it."""
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", color)[:3]]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
