"""What a change can reach: the tests to run before it is sent. Everything, if in doubt."""

import json
import re
import subprocess
from collections.abc import Iterable

from lossbook import _HOMES
from lossbook.book.runs.chapters import BUILD, ROOT, Chapter, families, load

ALWAYS = "tests/test_layout.py"


def files() -> list[str]:
    """List what differs from where this branch left main, committed or not, and what is new."""

    def git(*arguments: str) -> list[str]:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.splitlines()

    base = git("merge-base", "HEAD", "origin/main") or git("merge-base", "HEAD", "main") or ["HEAD"]
    return [
        *git("diff", "--name-only", base[0]),
        *git("ls-files", "--others", "--exclude-standard"),
    ]


def reached(changed: Iterable[str]) -> list[str]:
    """List what pytest must run for these files; nothing, which is everything, if in doubt."""
    folders, chosen = "|".join(families()), {ALWAYS}
    chapters = load()[0]
    for file in changed:
        if re.fullmatch(rf"lossbook/({folders})/(?!_)\w+\.py", file) and (ROOT / file).exists():
            chosen |= {file, *_mentioning(file), *(_drift(c) for c in chapters if _loads(c, file))}
            chosen |= {f"docs/{c.name}.md" for c in chapters if _loads(c, file)}
        elif re.fullmatch(rf"tests/({folders})/test_\w+\.py", file) and (ROOT / file).exists():
            chosen.add(file)
        elif found := [c for c in chapters if f"docs/{c.name}.md" == file and c.blocks]:
            chosen |= {file, _drift(found[0])}
        else:
            return []
    return sorted(chosen)


def _drift(chapter: Chapter) -> str:
    return f"tests/book/test_drift.py::test_a_chapter_prints_what_was_recorded[{chapter.name}]"


def _mentioning(file: str) -> list[str]:
    """List the tests that name a loss file or one of its functions."""
    module = file.removesuffix(".py").replace("/", ".")
    names = [module, *(name for name, home in _HOMES.items() if home == module)]
    word = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    tests = sorted(ROOT.glob("tests/**/test_*.py"))
    return [p.relative_to(ROOT).as_posix() for p in tests if word.search(p.read_text())]


def _loads(chapter: Chapter, file: str) -> bool:
    """Tell whether the last run of a chapter loaded a file; it may have, where there is none."""
    stored = BUILD / "runs" / f"{chapter.name.replace('/', '.')}.json"
    return bool(chapter.blocks) and (
        not stored.exists() or file in json.loads(stored.read_text()).get("needs", [file])
    )
