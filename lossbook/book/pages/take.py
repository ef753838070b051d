"""What readers take away: the site as a folder that needs no server, and PDFs."""

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from posixpath import dirname, join, normpath

from lossbook import __version__
from lossbook.book.runs.chapters import BUILD, Chapter, settings

OFFLINE = BUILD / "offline"
_SHIM = "https://unpkg.com/iframe-worker/shim"
_PAGE = re.compile(r'href="(?!\w+:)([^"#]+)\.html')
_FOLDER = re.compile(r'href="((?:\.\./)*[\w/-]+)/"')


def relink(site: Path) -> None:
    """Let links of raw HTML to a folder name the page, as those of Markdown already do.

    The theme asks another host for what lets its search run without a server; that is at hand.
    """
    for page in site.rglob("*.html"):
        up = "../" * (len(page.relative_to(site).parts) - 1)
        text = page.read_text()
        text = text.replace(f'href="{page.stem}/slides.html"', f'href="{page.stem}-slides.html"')

        def named(match: re.Match[str], page: Path = page) -> str:
            target = f"{match[1]}.html"
            return f'href="{target}"' if (page.parent / target).is_file() else match[0]

        changed = _FOLDER.sub(named, text.replace(_SHIM, f"{up}assets/iframe-worker.js"))
        if changed != text:
            page.write_text(changed)


def pack() -> Path:
    """Zip the site that needs no server."""
    path = BUILD / f"lossbook-{__version__}-offline.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(OFFLINE.rglob("*")):
            if file.is_file():
                archive.write(file, f"lossbook/{file.relative_to(OFFLINE).as_posix()}")
    return path


def decks() -> Path:
    """Zip the slides alone; what they link to besides is on the site."""
    path, site = BUILD / "lossbook-slides.zip", settings()["site_url"].rstrip("/")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for deck in sorted(OFFLINE.rglob("*-slides.html")):
            place = deck.relative_to(OFFLINE).as_posix()

            def absolute(match: re.Match[str], folder: str = dirname(place)) -> str:
                return f'href="{site}/{normpath(join(folder, match[1]))}/'

            archive.writestr(f"slides/{place}", _PAGE.sub(absolute, deck.read_text()))
        for file in sorted((OFFLINE / "assets").rglob("*")):
            if file.is_file():
                archive.write(file, f"slides/{file.relative_to(OFFLINE).as_posix()}")
    return path


def pdf(chapters: Sequence[Chapter], *, report: Callable[[str], None]) -> list[Path]:
    """Print pages of the offline site, one PDF each.

    Raises:
        RuntimeError: If there is no Chromium, or it prints nothing.
    """
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        raise RuntimeError(f"expected a browser that prints, one of {', '.join(names)}, got none")
    folder = BUILD / "pdf"
    folder.mkdir(exist_ok=True)
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    made = []
    for i, chapter in enumerate(chapters, 1):
        path = folder / f"{chapter.name.replace('/', '-')}.pdf"
        path.unlink(missing_ok=True)
        page = (OFFLINE / f"{chapter.name}.html").as_uri()
        command = [browser, "--headless", *sandbox, "--disable-gpu", "--no-pdf-header-footer"]
        subprocess.run([*command, f"--print-to-pdf={path}", page], capture_output=True, check=False)
        if not path.exists():
            raise RuntimeError(f"{browser} printed nothing of {page}")
        report(f"{i:3}/{len(chapters)}  {path.name}")
        made.append(path)
    return made
