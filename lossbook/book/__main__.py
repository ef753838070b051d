"""python -m lossbook.book: stage, build or serve the book, start a loss."""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lossbook.book.runs import chapters, drift
from lossbook.book.runs.chapters import BUILD, ROOT


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m lossbook.book", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    staging = commands.add_parser("stage", help="run the chapters and write build/docs")
    staging.add_argument("chapters", nargs="*", type=Path, help="these only")
    staging.add_argument("--keep-going", action="store_true", help="a failed chapter is no failure")
    building = commands.add_parser("build", help="stage, then build the site")
    building.add_argument(
        "--with", dest="generator", choices=["mkdocs", "zensical"], default="mkdocs"
    )
    commands.add_parser("offline", help="build, and zip the site without a server, and its slides")
    commands.add_parser("course", help="write the students' and the teachers' notebooks")
    printing = commands.add_parser("pdf", help="build, and print chapters, or all of them")
    printing.add_argument("chapters", nargs="*", type=Path, help="these only")
    serving = commands.add_parser("serve", help="serve the book and follow every change")
    serving.add_argument("--address", default="localhost:8000")
    recording = commands.add_parser("record", help="record what chapters print, having read it")
    recording.add_argument("chapters", nargs="+", type=Path)
    shifting = commands.add_parser("seeds", help="record whether claims hold under other seeds")
    shifting.add_argument("chapters", nargs="*", type=Path, help="these only")
    shifting.add_argument("--shifts", type=int, default=5)
    adding = commands.add_parser("add", help="start a loss: file, test, chapter and export")
    adding.add_argument("loss", metavar="FAMILY/STEM")
    commands.add_parser("changed", help="list the tests that what changed since main can reach")
    options = parser.parse_args(arguments)

    if options.command == "changed":
        from lossbook.book.runs import changed

        print(" ".join(changed.reached(changed.files())))
        return 0
    if options.command == "add":
        from lossbook.book.runs.add import add

        try:
            print("\n".join(add(options.loss)))
        except ValueError as error:
            parser.error(str(error))
        return 0

    if options.command == "serve":
        from lossbook.book.pages.serve import serve

        return serve(options.address)
    chosen = [path.resolve() for path in getattr(options, "chapters", [])]
    for path in chosen:
        if not path.is_file() or not path.is_relative_to(chapters.DOCS):
            parser.error(f"expected a chapter below docs/, got {path}")
    if options.command == "seeds":
        from lossbook.book.runs import seeds

        paths = chosen or sorted(chapters.DOCS.rglob("*.md"))
        return 1 if seeds.record(paths, options.shifts, report=print) else 0
    if options.command == "record":
        return _record(chosen)
    if options.command == "stage":
        return _stage(chosen or None, strict=not options.keep_going)
    if options.command == "course":
        from lossbook.book.pages import course

        for path in course.pack(chapters.load()[0]):
            print(path.relative_to(ROOT))
        return 0
    if options.command in ("offline", "pdf"):
        return _vet() or _stage(None, strict=True) or _take(chosen, options.command)
    return _vet() or _stage(None, strict=True) or _generate(options.generator)


def _take(paths: list[Path], kind: str) -> int:
    """Build the site that needs no server, then zip it or print its pages."""
    from lossbook.book.pages import take

    if code := _generate("offline"):
        return code
    take.relink(take.OFFLINE)
    if kind == "offline":
        for path in (take.pack(), take.decks()):
            print(path.relative_to(ROOT))
        return 0
    read = [c for c in chapters.load()[0] if not paths or c.path in paths]
    try:
        made = take.pdf(read, report=lambda line: print(line, flush=True))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(made[0].parent.relative_to(ROOT))
    return 0


def _record(paths: list[Path]) -> int:
    """Record what each chapter prints, unless it fails."""
    from lossbook.book.runs import run

    failed = False
    for path in paths:
        try:
            chapter = chapters.read(path)
            done = run.run(chapter)
            errors = done.errors(chapter)
        except chapters.ChapterError as unread:
            errors = [unread]
        for error in errors:
            print(f"\n{error}", file=sys.stderr)
        if not errors:
            drift.record(chapter, done)
        failed |= bool(errors)
    return int(failed)


def _vet() -> int:
    """Run the contract where its results are missing or older than the code."""
    from lossbook.book.pages.card import stale

    losses = stale()
    if not losses:
        return 0
    command = [sys.executable, "-m", "tests.contract", *losses]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _stage(only: list[Path] | None, *, strict: bool) -> int:
    from lossbook.book.pages.stage import stage

    start = time.perf_counter()
    errors = stage(only=only, watch_tree=strict, report=lambda line: print(line, flush=True))
    for error in errors:
        print(f"\n{error}", file=sys.stderr)
    print(f"Staged in {time.perf_counter() - start:.1f} s, {len(errors)} errors.", flush=True)
    return 1 if errors and strict else 0


def _generate(generator: str) -> int:
    """Build the site with one of the generators, unless it stands as it was staged."""
    from lossbook.book.pages import slides

    command, site = {
        "mkdocs": (["mkdocs", "build", "--quiet", "--strict"], ROOT / "site"),
        "zensical": (["zensical", "build", "--clean"], BUILD / "zensical"),
        "offline": (["mkdocs", "build", "--quiet", "--strict"], BUILD / "offline"),
    }[generator]
    config, stamp = BUILD / f"{generator}.yml", BUILD / f"{generator}.key"
    key = _key(config)
    if (site / "index.html").exists() and stamp.exists() and stamp.read_text() == key:
        print("The site is up to date.", flush=True)
        return 0
    stamp.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", *command, "--config-file", str(config)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    if done.returncode == 0:
        shutil.copytree(BUILD / "beside", site, dirs_exist_ok=True)
        slides.make(site, chapters.load()[0])
        slim(site / "search" / "search_index.json")
        stamp.write_text(key)
    return done.returncode


def slim(index: Path) -> None:
    """Leave blocks of code out of a search index: they are half of it, and nobody asks for them."""
    for path in (index, index.with_suffix(".js")):  # Zensical's is another file.
        if path.exists():
            name, brace, rest = path.read_text().partition("{")
            found = json.loads(brace + rest)
            for entry in found["docs"]:
                entry["text"] = re.sub(r"<pre>.*?</pre>", "", entry["text"], flags=re.S)
            path.write_text(name + json.dumps(found, separators=(",", ":")))


def _key(config: Path) -> str:
    """Hash what a site depends on: what is staged, the code that its API pages show, and tools."""
    from lossbook.book.runs.run import versions

    digest = hashlib.sha256(json.dumps(versions()).encode() + config.read_bytes())
    files = [
        *(BUILD / "docs").rglob("*"),
        *(BUILD / "beside").rglob("*"),
        *(ROOT / "lossbook").rglob("*.py"),
    ]
    for path in sorted(path for path in files if path.is_file()):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
