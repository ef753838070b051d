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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lossbook import __version__

__all__ = ["main"]

LOCK = "lossbook.lock"
STAMP = re.compile(r"# lossbook: (?P<name>\S+) (?P<version>\S+) sha256:(?P<hash>[0-9a-f]{16}) .*")


class CommandError(Exception):
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
        """What a copy holds: the text under its stamp, whose hash is cut to keep it to a line."""
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
        return None if path is None else Record(name, self.version, path.read_bytes().decode())

    def find(self, name: str) -> Record:
        """The file that a reader means by `name`."""

        def key(spelling: str) -> str:
            return re.sub(r"[-_]|\.py$", "", spelling.lower())

        known = {
            key(spelling): (spelling, stem)
            for stem, path in self.files().items()
            for spelling in (stem, f"{path.parent.name}/{stem}", *public(path))
        }
        _, stem = known.get(key(name), (None, ""))
        found = self.get(stem)
        if found is None:
            near = [known[close][0] for close in difflib.get_close_matches(key(name), known)]
            guess = f"did you mean {' or '.join(near)}? " if near else ""
            raise CommandError(f"no loss is called {name!r}; {guess}`lossbook list` names them all")
        return found

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
        if program(old.base) == program(new.base):
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


def program(text: str) -> str:
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
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(text.encode())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        os.replace(temporary, target)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_lock(folder: Path) -> dict[str, Record]:
    """What the lock says of each file in a folder."""
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"expected a folder, got the file {folder}")
    path, lock = folder / LOCK, {}
    text = read(path)
    try:
        for file, entry in ({} if text is None else json.loads(text)).items():
            lock[file] = Record(*map(str, (entry["name"], entry["version"], entry["base"])))
            if lock[file].sha256 != entry["sha256"]:
                raise ValueError(f"sha256 of {file} is not that of its base")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandError(
            f"cannot read {path} ({error!r}); restore it, or delete it and add the losses again"
        ) from error
    return lock


def write_lock(folder: Path, lock: dict[str, Record]) -> None:
    """Write what `read_lock` reads."""
    entries = {file: record._asdict() | {"sha256": record.sha256} for file, record in lock.items()}
    write(folder / LOCK, json.dumps(entries, indent=2, sort_keys=True) + "\n")


def origin(text: str, entry: Record | None, installed: Record | None) -> tuple[Record | None, str]:
    """What a copy began as, None where nobody knows, and its text without the stamp.

    The stamp's hash comes first: the rest of the file may have it (an unedited copy), or the
    installed text. Then the lock knows. So an `add` that was interrupted between file and lock, and
    a lock that was lost or merged wrongly, cost an unedited copy nothing.
    """
    first, _, rest = text.partition("\n")
    stamp = STAMP.fullmatch(first)
    if not stamp:
        return entry, text
    for base in (rest, installed.base) if installed else (rest,):
        began = Record(stamp["name"], stamp["version"], base)
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


def unedited(path: Path, old: Record | None, body: str, new: Record) -> Record:
    """What an unedited, older copy began as; any other file is not to be replaced unasked."""
    if old is None or old.name != new.name:
        why = f"it is no copy of {new.name} that {LOCK} knows"
    elif body != old.base:
        why = "you edited it, see `lossbook diff`"
    elif release(old.version) > release(new.version):
        why = f"it is from lossbook {old.version}, newer than the installed {new.version}"
    else:
        return old
    raise CommandError(f"left {path} as it is: {why}; --force overwrites it", code=1)


def add(book: Book, name: str, folder: Path, *, force: bool, dry_run: bool) -> str:
    """Copy a file into a folder, or update an unedited copy; say what was done."""
    new = book.find(name)
    path = folder / f"{new.name}.py"
    lock = read_lock(folder)
    entry, held = lock.get(path.name), read(path)
    old, body = (None, None) if held is None else origin(held, entry, new)
    done, notes = f"written, lossbook {new.version}", list[str]()
    if body == new.base:
        done = f"kept, it is the text of lossbook {new.version}"
    elif body is not None and force:
        done = f"overwritten, lossbook {new.version}"
    elif body is not None:
        old = unedited(path, old, body, new)
        kind, notes = book.change(old, new)
        done = f"updated, lossbook {old.version} to {new.version} ({kind})"

    if not dry_run:
        # The file goes first: its stamp tells `origin` what it is, whatever the lock says. A new
        # lock beside an old, edited file would pass that file off as an edit of the new text.
        if body != new.base:
            write(path, new.stamped)
        if entry is None or entry.base != new.base:
            write_lock(folder, lock | {path.name: new})
    lines = [f"{path}: {'would be ' if dry_run else ''}{done}", *(f"  {note}" for note in notes)]
    return "".join(f"{line}\n" for line in lines)


class Status(NamedTuple):
    """What `diff` says of one file, and the exit code that `--check` makes of it."""

    words: str
    notes: Sequence[str] = ()
    differences: Sequence[str] = ()
    code: int = 0


def compare(book: Book, path: Path, entry: Record | None) -> Status:
    """Compare a copy with the text it began as, and that text with the installed one."""
    held = read(path)
    if held is None:
        return Status("missing")
    old, body = origin(held, entry, book.get(entry.name if entry else path.stem))
    if old is None:
        return Status(f"edited, and {LOCK} has no text to compare it with", code=2)
    new = book.get(old.name)
    if new and body == new.base:
        return Status("current")

    name, before = path.name, f"{path.name} (lossbook {old.version})"
    words, notes, differences, failed = list[str](), list[str](), list[str](), 0
    if body != old.base:
        words.append("your edit, with CRLF line ends" if "\r\n" in body else "your edit")
        yours = body.replace("\r\n", "\n")
        differences.append(unified(old.base, yours, before, f"{name} (yours)"))
    if new is None:
        words.append("removed upstream")
    elif release(old.version) > release(new.version):
        words.append(f"from lossbook {old.version}, newer than the installed {new.version}")
    elif old.base != new.base:
        kind, notes = book.change(old, new)
        words.append(f"upstream change of {kind}, {old.version} to {new.version}")
        after = f"{name} (lossbook {new.version})"
        differences.append(unified(old.base, new.base, before, after))
        failed = int(kind == "value")
    return Status("; ".join(words) or "current", notes, differences, failed)


def diff(book: Book, folder: Path) -> tuple[str, int]:
    """The status of every copy in a folder, then the differences; and the code of `--check`."""
    lock = read_lock(folder)
    stamped = {
        path.name
        for path in folder.glob("*.py")
        if path.is_file() and (read(path) or "").startswith("# lossbook: ")
    }
    found = {
        file: compare(book, folder / file, lock.get(file)) for file in sorted(stamped | {*lock})
    }
    if not found:
        raise CommandError(f"expected {LOCK} or copies of losses in {folder}, got neither")
    width = max(map(len, found))
    text = ""
    for file, status in found.items():
        text += f"{file:{width}}  {status.words}\n"
        text += "".join(f"{'':{width}}  {note}\n" for note in status.notes)
    for status in found.values():
        text += "".join(f"\n{difference}" for difference in status.differences if difference)
    return text, max(status.code for status in found.values())


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    top = argparse.ArgumentParser(
        prog="lossbook",
        description="Copy losses out of the book, and follow what becomes of them. Offline.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, purpose: str, more: str = "") -> argparse.ArgumentParser:
        description = f"{purpose[0].upper()}{purpose[1:]}. {more}"
        return commands.add_parser(name, help=purpose, description=description)

    name = "a function (focal_loss), a file (focal) or both (classification/focal)"
    command("list", "list every loss, by the file that holds it")
    show = command("show", "print the file of a loss")
    show.add_argument("name", metavar="NAME", help=name)

    copy = command(
        "add",
        "copy the file of a loss into a folder",
        f"The copy needs torch and nothing else. {LOCK}, beside it, keeps its text for `lossbook "
        "diff`; commit both. A copy that you did not edit is updated; any other file of that name "
        "is left as it is, with exit code 1.",
    )
    copy.add_argument("name", metavar="NAME", help=name)
    copy.add_argument("folder", metavar="DIR", type=Path, help="where to; made if missing")
    copy.add_argument("--force", action="store_true", help="overwrite whatever is there")
    copy.add_argument("--dry-run", action="store_true", help="only say what would be done")

    differ = command(
        "diff",
        "tell your edits of copied losses from changes upstream",
        "A change upstream is one of value (calls return something else), numerics (the same "
        "within rounding) or text (docstrings, comments, formatting). To take one into a copy that "
        "you edited: add --force, then put your edit back.",
    )
    differ.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        nargs="?",
        default=Path(),
        help="where the copies are; here, if not given",
    )
    differ.add_argument(
        "--check",
        action="store_true",
        help="exit with 1 if upstream changed a value, with 2 if a copy cannot be compared",
    )
    return top


def main(
    arguments: Sequence[str] | None = None,
    *,
    root: Path = Path(__file__).parent,
    version: str = __version__,
) -> int:
    """Run the command on the loss files in `root`, and return its exit code."""
    options = parser().parse_args(arguments)
    book, failed = Book(root, version), 0
    try:
        match options.command:
            case "list":
                text = listing(book)
            case "show":
                text = book.find(options.name).base
            case "add":
                text = add(
                    book, options.name, options.folder, force=options.force, dry_run=options.dry_run
                )
            case "diff":
                text, failed = diff(book, options.folder)
                failed *= options.check
        sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
        sys.stdout.flush()
    except CommandError as error:
        print(f"lossbook: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # The reader, `head` say, has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"lossbook: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return failed
