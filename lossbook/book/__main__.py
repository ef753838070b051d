"""python -m lossbook.book: stage, build or serve the book."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

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
    serving = commands.add_parser("serve", help="serve the book and follow every change")
    serving.add_argument("--address", default="localhost:8000")
    recording = commands.add_parser("record", help="record what chapters print, having read it")
    recording.add_argument("chapters", nargs="+", type=Path)
    shifting = commands.add_parser("seeds", help="record whether claims hold under other seeds")
    shifting.add_argument("chapters", nargs="*", type=Path, help="these only")
    shifting.add_argument("--shifts", type=int, default=5)
    commands.add_parser("address", help="bring every address in line with mkdocs.yml")
    options = parser.parse_args(arguments)

    if options.command == "serve":
        from lossbook.book.pages.serve import serve

        return serve(options.address)
    if options.command == "address":
        from lossbook.book.pages.address import rewrite

        print("\n".join(rewrite()) or "Every address is in line.")
        return 0
    if options.command == "seeds":
        from lossbook.book.runs import chapters, seeds

        paths = [p.resolve() for p in options.chapters] or sorted(chapters.DOCS.rglob("*.md"))
        return 1 if seeds.record(paths, options.shifts, report=print) else 0
    if options.command == "record":
        from lossbook.book.runs import chapters, drift, run

        for chapter in [chapters.read(path.resolve()) for path in options.chapters]:
            drift.record(chapter, run.run(chapter))
        return 0
    if options.command == "stage":
        only = [path.resolve() for path in options.chapters] or None
        return _stage(only, strict=not options.keep_going)
    return _vet() or _stage(None, strict=True) or _generate(options.generator)


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
    command, site = {
        "mkdocs": (["mkdocs", "build", "--quiet", "--strict"], ROOT / "site"),
        "zensical": (["zensical", "build", "--clean"], BUILD / "zensical"),
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
        stamp.write_text(key)
    return done.returncode


def _key(config: Path) -> str:
    """Hash what a site depends on: what is staged, the code that its API pages show, and tools."""
    from lossbook.book.runs.run import versions

    digest = hashlib.sha256(json.dumps(versions()).encode() + config.read_bytes())
    files = [*(BUILD / "docs").rglob("*"), *(ROOT / "lossbook").rglob("*.py")]
    for path in sorted(path for path in files if path.is_file()):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
