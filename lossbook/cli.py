"""The command `lossbook`: list, show and copy loss files, and follow what became of the copies.

It reads loss files as text and imports none of them. A copy is lossbook's text under one line, the
stamp; `lossbook.lock`, beside it, keeps the text that the copy began as.
"""

import argparse
import ast
import contextlib
import difflib
import hashlib
import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from lossbook import __version__

__all__ = ["main"]

LOCK = "lossbook.lock"
STAMP = re.compile(r"# lossbook: (?P<name>\S+) (?P<version>\S+) sha256:(?P<hash>[0-9a-f]{16}) .*")


class Failure(Exception):
    """An error to be told in one line, with its exit code: 1 for a refusal, 2 for the rest."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


class Record(NamedTuple):
    """A loss file as one version of lossbook had it."""

    name: str
    version: str
    base: str

    @property
    def sha256(self) -> str:
        """The hash of the text."""
        return hashlib.sha256(self.base.encode()).hexdigest()

    @property
    def stamped(self) -> str:
        """The text under its stamp: what a copy holds. The stamp's short hash keeps it to a line."""
        stamp = f"# lossbook: {self.name} {self.version} sha256:{self.sha256[:16]}"
        return f"{stamp} https://lossbook.example/ MIT-0\n{self.base}"


class Book(NamedTuple):
    """The loss files in a folder, and their version."""

    root: Path
    version: str

    def files(self) -> dict[str, Path]:
        """The file of each stem."""
        paths = [*self.root.glob("criterion.py"), *sorted(self.root.glob("*/[!_]*.py"))]
        return {path.stem: path for path in paths if path.parent.name != "book"}

    def get(self, name: str) -> Record | None:
        """The installed text of a stem, or None where the book has no such file."""
        path = self.files().get(name)
        return path and Record(name, self.version, path.read_bytes().decode())

    def find(self, name: str) -> Record:
        """The file that a reader means by `name`."""

        def key(spelling: str) -> str:
            return re.sub(r"[-_]|\.py$", "", spelling.lower())

        files = self.files()
        stems = {
            spelling: stem
            for stem, path in files.items()
            for spelling in (stem, f"{path.parent.name}/{stem}", *public(path))
        }
        spellings = {key(spelling): spelling for spelling in stems}
        if key(name) not in spellings:
            near = difflib.get_close_matches(key(name), spellings, n=3)
            guess = f"did you mean {' or '.join(spellings[close] for close in near)}? " if near else ""
            raise Failure(f"no loss is called {name!r}; {guess}`lossbook list` names them all")
        stem = stems[spellings[key(name)]]
        return Record(stem, self.version, files[stem].read_bytes().decode())

    def change(self, old: Record, new: Record) -> tuple[str, list[str]]:
        """The kind of the change between two versions of a file, and what was noted about it."""
        changes: dict[str, Any] = tomllib.loads((self.root / "changes.toml").read_text("utf-8"))
        between = [
            (version, entries[new.name])
            for version, entries in sorted(changes.items(), key=lambda item: release(item[0]))
            if release(old.version) < release(version) <= release(new.version)
            and new.name in entries
        ]
        notes = [f"{version} ({entry['kind']}): {entry['note']}" for version, entry in between]
        if code(old.base) == code(new.base):
            return "text", notes
        kinds = {entry["kind"] for _, entry in between} - {"text"}
        if not kinds:
            notes.append("no release declares this change of code, so it counts as value")
        return "numerics" if kinds == {"numerics"} else "value", notes


def release(version: str) -> list[int]:
    """The numbers of a version, to compare by; `0.2.0rc1` counts as 0.2.0."""
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def public(path: Path) -> dict[str, str]:
    """The public names of a file, each with the first line of its docstring."""
    return {
        node.name: (ast.get_docstring(node) or "").partition("\n")[0]
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }


def code(text: str) -> str:
    """What Python sees of a program: no comments, no formatting, and no docstrings."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return text
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            del node.body[: ast.get_docstring(node) is not None]
    return ast.dump(tree)


def unified(old: str, new: str, before: str, after: str) -> str:
    """A unified diff."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), before, after
    )
    ends = "\n", "\n\\ No newline at end of file\n"
    return "".join(line.removesuffix("\n") + ends[not line.endswith("\n")] for line in lines)


def read(path: Path) -> str | None:
    """The text of a file, line ends untouched, or None where there is none."""
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return None


def write(path: Path, text: str) -> None:
    """Replace a file in one step: whoever looks, even after a crash, sees the old or the new."""
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with temporary.open("xb") as file:
            file.write(text.encode())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        os.replace(temporary, target)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_lock(folder: Path) -> dict[str, Record]:
    """What the lock says of each file in a folder."""
    if folder.exists() and not folder.is_dir():
        raise Failure(f"expected a folder, got the file {folder}")
    text = read(folder / LOCK)
    lock = {}
    try:
        for file, entry in json.loads(text or "{}").items():
            lock[file] = Record(*map(str, (entry["name"], entry["version"], entry["base"])))
            if lock[file].sha256 != entry["sha256"]:
                raise ValueError(f"another base text of {file} than its sha256 tells")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise Failure(f"expected {folder / LOCK} as `lossbook add` wrote it, got {what}") from error
    return lock


def write_lock(folder: Path, lock: dict[str, Record]) -> None:
    """Write what `read_lock` reads."""
    entries = {file: record._asdict() | {"sha256": record.sha256} for file, record in lock.items()}
    write(folder / LOCK, json.dumps(entries, indent=2, sort_keys=True) + "\n")


def origin(text: str, entry: Record | None, installed: Record | None) -> tuple[Record | None, str]:
    """What a copy began as, None where nobody knows, and its text without the stamp.

    The stamp names a hash; the text with that hash is the rest of the file itself (an unedited
    copy), the lock's or the installed one. So an `add` that was interrupted between file and lock,
    and a lock that was lost or merged wrongly, cost an unedited copy nothing.
    """
    first, _, rest = text.partition("\n")
    stamp = STAMP.fullmatch(first.removesuffix("\r"))
    if not stamp:
        return entry, text
    for base in (rest, entry and entry.base, installed and installed.base):
        began = Record(stamp["name"], stamp["version"], base or "")
        if began.sha256.startswith(stamp["hash"]):
            return began, rest
    return entry, rest


def listing(book: Book) -> str:
    """Every file with its public names."""
    names = {path: public(path) for path in book.files().values()}
    width = max(len(name) for lines in names.values() for name in lines)
    return "".join(
        f"{path.relative_to(book.root).as_posix()}\n"
        + "".join(f"  {name:{width}}  {line}".rstrip() + "\n" for name, line in lines.items())
        for path, lines in names.items()
    )


def refusal(old: Record | None, new: Record, held: str, body: str) -> str | None:
    """Why a file must not be replaced unasked; None for an unedited copy that is not newer."""
    if old is None and body == held:
        return "it did not come from lossbook"
    if old is None:
        return f"it is edited, and {LOCK} has no text to compare it with"
    if body != old.base:
        return "you edited it, see `lossbook diff`"
    if release(old.version) > release(new.version):
        return f"it is from lossbook {old.version}, and {new.version} is installed"
    return None


def add(book: Book, name: str, folder: Path, *, force: bool, dry_run: bool) -> str:
    """Copy a file into a folder, or update an unedited copy; say what was done."""
    new = book.find(name)
    path = folder / f"{new.name}.py"
    lock = read_lock(folder)
    entry, held = lock.get(path.name), read(path)
    notes: list[str] = []
    if held is None:
        done = f"{'would write' if dry_run else 'wrote'} {path} (lossbook {new.version})"
    else:
        old, body = origin(held, entry, new)
        current = body == new.base
        why = None if current or force else refusal(old, new, held, body)
        if why:
            raise Failure(f"left {path} as it is: {why}; --force overwrites it", code=1)
        done = f"{'would replace' if dry_run else 'replaced'} {path} (lossbook {new.version})"
        if current:
            done = f"{'would keep' if dry_run else 'kept'} {path} (already lossbook {new.version})"
        elif old and not force:
            kind, notes = book.change(old, new)
            done = f"{done[:-1]} for {old.version}: {kind})"
    if not dry_run:
        # The file goes first: its stamp tells `origin` what it is, whatever the lock says. A new
        # lock beside an old file would make that file look like an edit of the new text.
        folder.mkdir(parents=True, exist_ok=True)
        if held is None or not current:
            write(path, new.stamped)
        if entry is None or entry.base != new.base:
            write_lock(folder, lock | {path.name: new})
    return "".join(f"{line}\n" for line in (done, *(f"  {note}" for note in notes)))


class Status(NamedTuple):
    """What `diff` says of one file."""

    words: str
    notes: list[str] = []
    diffs: list[str] = []
    code: int = 0


def compare(book: Book, path: Path, entry: Record | None) -> Status:
    """Compare a copy with the text it began as, and that text with the installed one."""
    held = read(path)
    if held is None:
        return Status("missing")
    old, body = origin(held, entry, book.get(entry.name if entry else path.stem))
    if old is None:
        return Status(f"cannot compare: edited, and {LOCK} has no text for it", code=2)
    new = book.get(old.name)
    if new and body == new.base:
        return Status("current")

    before = f"{path.name} (lossbook {old.version})"
    words, notes, diffs, failed = [], [], [], 0
    if body != old.base:
        words.append("your edit, with CRLF line ends" if "\r\n" in body else "your edit")
        text = body.replace("\r\n", "\n")
        diffs.append(unified(old.base, text, before, f"{path.name} (yours)"))
    if new is None:
        words.append("removed upstream")
    elif release(old.version) > release(new.version):
        words.append(f"from lossbook {old.version}, newer than the installed {new.version}")
    elif old.base != new.base:
        kind, notes = book.change(old, new)
        words.append(f"upstream {kind}, {old.version} to {new.version}")
        diffs.append(unified(old.base, new.base, before, f"{path.name} (lossbook {new.version})"))
        failed = int(kind == "value")
    return Status("; ".join(words), notes, diffs, failed)
