"""Brings every mention of the site and the repository in line with `mkdocs.yml`."""

import subprocess
import tomllib

from lossbook.book.pages.stage import settings
from lossbook.book.runs.chapters import ROOT


def owner(repository: str) -> str:
    """Cut the owner and name out of a repository's address."""
    return "/".join(repository.rstrip("/").split("/")[-2:])


def rewrite() -> list[str]:
    """Replace the addresses that `pyproject.toml` still names; return the files changed."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        urls = tomllib.load(file)["project"]["urls"]
    new = settings()
    pairs = [(urls["Homepage"], new["site_url"]), (urls["Repository"], new["repo_url"])]
    pairs += [(owner(a), owner(b)) for a, b in pairs[1:]]
    pairs = [(a.rstrip("/"), b.rstrip("/")) for a, b in pairs if a.rstrip("/") != b.rstrip("/")]
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    changed = []
    for name in listed if pairs else []:
        path = ROOT / name
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        replaced = text
        for old, current in pairs:
            replaced = replaced.replace(old, current)
        if replaced != text:
            path.write_text(replaced, encoding="utf-8")
            changed.append(name)
    return changed
