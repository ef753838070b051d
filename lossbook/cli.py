"""The command `lossbook`: list, show and copy loss files, and follow what became of the copies.

It reads loss files as text and imports none of them. A copy is lossbook's text under one line, the
stamp; `lossbook.lock`, beside it, keeps the text that the copy began as.
"""

import argparse
import ast
import contextlib
import csv
import difflib
import functools
import hashlib
import io
import json
import os
import re
import signal
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from lossbook import __version__

__all__ = ["main"]

LOCK = "lossbook.lock"
TEMPORARY = ".lossbook.tmp"
APART = ("criterion.py", "gathering.py")  # The files to copy that are in no family.
STAMPED = "# lossbook: "
STAMP = re.compile(STAMPED + r"(?P<name>\S+) (?P<version>\S+) sha256:(?P<hash>[0-9a-f]{16}) .*")


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


class Book:
    """The loss files below a folder, which may lie in an archive, as one version has them."""

    def __init__(self, root: Traversable, version: str) -> None:
        self.root = root
        paths = [("", path) for path in root.iterdir() if path.name in APART]
        for family in root.iterdir():
            if family.is_dir() and family.name != "book":
                paths += [(f"{family.name}/", path) for path in family.iterdir()]
        self.places, self.records = dict[str, str](), dict[str, Record]()  # By stem.
        for folder, path in sorted(paths, key=lambda found: (found[0], found[1].name)):
            stem = path.name.removesuffix(".py")
            if stem != path.name and not stem.startswith("_"):
                self.places[stem] = folder + path.name
                self.records[stem] = Record(stem, version, plain(path.read_bytes()))

    def table(self, name: str) -> dict[str, Any]:
        """One of the tables beside the losses."""
        return tomllib.loads(plain(self.root.joinpath(name).read_bytes()))

    def find(self, name: str) -> Record:
        """The file that a reader means by `name`, which another library may have given."""
        aliases = self.table("aliases.toml")
        none = map(key, aliases.pop("none", ()))
        known: dict[str, tuple[str, str]] = {}  # A spelling and a stem, by what matters in a name.
        for stem, record in self.records.items():
            ours = [stem, self.places[stem], *public(record.base)]
            theirs = [spelling for loss in ours for spelling in aliases.get(loss, ())]
            known |= {key(spelling): (spelling, stem) for spelling in (*theirs, *ours)}
        if key(name) in known:
            return self.records[known[key(name)][1]]
        if key(name) in none:
            raise CommandError(f"no loss here equals {name}; `lossbook list` names them all")
        near = [known[close][0] for close in difflib.get_close_matches(key(name), known)]
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        raise CommandError(f"no loss is called {name!r}; {guess}`lossbook list` names them all")

    def change(self, old: Record, new: Record) -> tuple[str, list[str]]:
        """The kind of the change between two versions of a file, and what was noted about it."""
        changes = sorted(self.table("changes.toml").items(), key=lambda item: release(item[0]))
        between = [
            (version, entries[new.name])
            for version, entries in changes
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


def key(spelling: str) -> str:
    """What matters in a name: not case, `_`, `-`, a path before a dot, or `Loss` at the end."""
    name = spelling.lower().removesuffix(".py").rpartition(".")[2]
    return re.sub("[-_]", "", name).removesuffix("loss")


def plain(text: bytes) -> str:
    """A file's text; line ends are git's business and the editor's, not an edit."""
    return text.decode(errors="replace").replace("\r\n", "\n")


def release(version: str) -> list[int]:
    """The numbers of a version, to compare by; `0.2.0rc1` counts as 0.2.0."""
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


@functools.cache
def public(text: str) -> dict[str, str]:
    """The public names of a file, each with the first line of its docstring."""
    return {
        node.name: (ast.get_docstring(node) or "").partition("\n")[0]
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }


def program(text: str) -> str:
    """What Python sees of a program: no comments, no formatting, and no docstrings."""
    try:
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                del node.body[: ast.get_docstring(node) is not None]
        return ast.dump(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text


def unified(old: str, new: str, before: str, after: str) -> str:
    """A unified diff."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), before, after
    )
    ends = "\n", "\n\\ No newline at end of file\n"
    return "".join(line.removesuffix("\n") + ends[not line.endswith("\n")] for line in lines)


def read(path: Path) -> str | None:
    """The text of a file, or None where there is none."""
    if path.exists() and not path.is_file():
        raise CommandError(f"expected a file, got {path}")
    try:
        return plain(path.read_bytes())
    except FileNotFoundError:
        return None


def write(path: Path, text: str) -> None:
    """Replace a file in one step: whoever looks, even after a crash, sees the old or the new."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(TEMPORARY)
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # Never through a link that somebody left there.
            file.write(text.encode())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        os.replace(temporary, target)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make a folder, and keep every other `add` out of it: they share a lock and a temporary."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):  # Windows and some network file systems.
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):  # One that was killed left it.
            (folder / TEMPORARY).unlink()
        yield


def stamped(folder: Path) -> dict[str, str]:
    """The copies in a folder that say what they are."""
    texts = {path.name: read(path) or "" for path in folder.glob("*.py") if path.is_file()}
    return {file: text for file, text in texts.items() if text.startswith(STAMPED)}


def read_lock(folder: Path) -> dict[str, Record]:
    """What the lock says of each file in a folder; a renamed copy is known by its stamp."""
    path, lock = folder / LOCK, dict[str, Record]()
    text = read(path)
    try:
        for file, entry in ({} if text is None else json.loads(text)).items():
            lock[file] = Record(*map(str, (entry["name"], entry["version"], entry["base"])))
            if not file.endswith(".py") or PureWindowsPath(file).name != file:
                raise ValueError(f"expected the name of a .py file in that folder, got {file}")
            if not f"{file}{lock[file].name}{lock[file].version}".isprintable():
                raise ValueError(f"expected names that can be printed, got those of {file!a}")
            if lock[file].sha256 != entry["sha256"]:
                raise ValueError(f"sha256 of {file} is not that of its base")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CommandError(
            f"cannot read {path} ({error!r}); restore it, or delete it and add the losses again"
        ) from error
    known = {(record.name, record.sha256[:16]): record for record in lock.values()}
    renamed = {
        file: known[stamp["name"], stamp["hash"]]
        for file, text in stamped(folder).items()
        if file not in lock and (stamp := STAMP.match(text)) and stamp.group(1, 3) in known
    }
    gone = {
        file for file in lock if lock[file] in renamed.values() and not (folder / file).exists()
    }
    return renamed | {file: record for file, record in lock.items() if file not in gone}


def write_lock(folder: Path, lock: dict[str, Record]) -> None:
    """Write what `read_lock` reads."""
    entries = {file: record._asdict() | {"sha256": record.sha256} for file, record in lock.items()}
    write(folder / LOCK, json.dumps(entries, indent=2, sort_keys=True) + "\n")


def origin(book: Book, text: str, entry: Record | None) -> tuple[Record | None, str]:
    """What a copy began as, None where nobody knows, and its text without the stamp.

    The stamp's hash comes first: the rest of the file may have it (an unedited copy), or the
    installed text. Then the lock knows. So an `add` that was interrupted between file and lock, and
    a lock that was lost or merged wrongly, cost an unedited copy nothing.
    """
    first, _, rest = text.partition("\n")
    stamp = STAMP.fullmatch(first)
    if not stamp:
        return entry, text
    installed = book.records.get(stamp["name"])
    for base in (rest, installed.base) if installed else (rest,):
        began = Record(stamp["name"], stamp["version"], base)
        if began.sha256.startswith(stamp["hash"]):
            return began, rest
    return entry, rest


def listing(book: Book) -> str:
    """Every file with its public names."""
    names = {stem: public(record.base) for stem, record in book.records.items()}
    width = max(len(name) for lines in names.values() for name in lines)
    return "".join(
        f"{book.places[stem]}\n"
        + "".join(f"  {name:{width}}  {line}".rstrip() + "\n" for name, line in lines.items())
        for stem, lines in names.items()
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


def add(book: Book, new: Record, folder: Path, *, force: bool, dry_run: bool) -> str:
    """Copy a file into a folder, or update an unedited copy; say what was done."""
    path = folder / f"{new.name}.py"
    lock = read_lock(folder)
    entry, held = lock.get(path.name), read(path)
    old, body = (None, None) if held is None else origin(book, held, entry)
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
        return Status("missing", code=2)
    if path.is_symlink() and not held.startswith(STAMPED):
        return Status("a link to what is no copy", code=2)
    old, body = origin(book, held, entry)
    if old is None:
        return Status(f"edited, and {LOCK} has no text to compare it with", code=2)
    new = book.records.get(old.name)
    if new and body == new.base:
        return Status("current")

    name, before = path.name, f"{path.name} (lossbook {old.version})"
    words, notes, differences, failed = list[str](), list[str](), list[str](), 0
    if body != old.base:
        words.append("your edit")
        differences.append(unified(old.base, body, before, f"{name} (yours)"))
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
    files = sorted({*lock, *stamped(folder)})
    found = {file: compare(book, folder / file, lock.get(file)) for file in files}
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


def parser(version: str) -> argparse.ArgumentParser:
    """The arguments."""
    top = argparse.ArgumentParser(
        prog="lossbook",
        description="Copy losses out of the book, and follow what becomes of them. Offline.",
    )
    top.add_argument("--version", action="version", version=f"lossbook {version}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, purpose: str, more: str = "") -> Callable[..., argparse.Action]:
        description = f"{purpose[0].upper()}{purpose[1:]}. {more}"
        return commands.add_parser(name, help=purpose, description=description).add_argument

    name = "a function (focal_loss), a file (focal), both, or another library's name (MSELoss)"
    command("list", "list every loss, by the file that holds it")
    show = command("show", "print the file of a loss")
    show("name", metavar="NAME", help=name)
    copy = command(
        "add",
        "copy the file of a loss into a folder",
        f"The copy needs torch and nothing else. {LOCK}, beside it, keeps its text for `lossbook "
        "diff`; commit both. A copy that you did not edit is updated; any other file of that name "
        "is left as it is, with exit code 1.",
    )
    copy("name", metavar="NAME", help=name)
    copy("folder", metavar="DIR", type=Path, help="where to; made if missing")
    copy("--force", action="store_true", help="overwrite whatever is there")
    copy("--dry-run", action="store_true", help="only say what would be done")
    differ = command(
        "diff",
        "tell your edits of copied losses from changes upstream",
        "A change upstream is one of value (calls return something else), numerics (the same "
        "within rounding) or text (docstrings, comments, formatting). To take one into a copy that "
        "you edited: add --force, then put your edit back.",
    )
    where = "where the copies are; here, if not given"
    differ("folder", metavar="DIR", type=Path, nargs="?", default=Path(), help=where)
    check = "exit with 1 if upstream changed a value, 2 if a copy is missing or cannot be compared"
    differ("--check", action="store_true", help=check)
    grader = command(
        "grade",
        "grade students' notebooks with otter-grader",
        "In a clone of the book, with `pip install -e .[course]`. Each submission has a process, a "
        "home, a folder and limits of its own; but it reads and writes what you can: see the page "
        "Teaching with this book.",
    )
    handed = "what was handed in: STUDENT.ipynb, or notebooks below STUDENT/"
    grader("folder", metavar="DIR", type=Path, help=handed)
    grader("--csv", metavar="FILE", type=Path, help="where the scores go")
    made = "grade nothing; write each chapter's configuration of otter there, for `otter grade`"
    grader("--autograders", metavar="DIR", type=Path, help=made)
    own = "hidden tests of your own, in the form of tests/answers; where it has none, the book's"
    grader("--answers", metavar="DIR", type=Path, help=own)
    grader("--seconds", type=float, default=600, help="of one submission; 600, if not given")
    grader("--jobs", type=int, default=1, help="how many submissions at once; 1, if not given")
    return top


def grade(options: argparse.Namespace) -> tuple[str, int]:
    """Grade a folder of notebooks, with a bar on standard error: a summary, and 1 if any failed."""
    try:
        from lossbook.book.runs import grade as grader
    except ImportError as error:
        wanted = 'lossbook grade needs `pip install "lossbook[course]"`'
        raise CommandError(f"{wanted}: {error}") from error

    failed = list[str]()

    def save(rows: Sequence[tuple[Any, ...]]) -> None:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("student", "exercise", "score", "max", "version"))
        table.writerows(rows)
        write(options.csv, text.getvalue())

    def report(done: int, total: int, student: str, why: str) -> None:
        if why:
            failed.append(student)
            print(f"\r{student}: {why}".ljust(60), file=sys.stderr)
        if sys.stderr.isatty() or done == total:
            bar = "#" * (30 * done // total)
            end = "\n" if done == total else ""
            print(f"\r[{bar:30}] {done}/{total}", end=end, file=sys.stderr, flush=True)

    answers = options.answers or grader.ANSWERS
    if not answers.is_dir():
        raise CommandError(f"expected a folder of answers, got {answers}")
    if bool(options.csv) == bool(options.autograders):
        raise CommandError("expected one of --csv and --autograders")
    try:
        submissions, graders = grader.prepare(options.folder, answers)
        if options.autograders:
            options.autograders.mkdir(parents=True, exist_ok=True)
            paths = [options.autograders / f"{g.name.replace('/', '-')}.zip" for g in graders]
            for path, autograder in zip(paths, graders, strict=True):
                path.write_bytes(autograder.configuration)
            return "".join(f"{path}\n" for path in paths), 0
        limits = {"seconds": options.seconds, "jobs": options.jobs}
        rows = grader.grade(submissions, graders, save=save, report=report, **limits)
    except grader.GradeError as error:
        raise CommandError(str(error)) from error
    return f"{options.csv}: {len(rows)} scores\n", int(bool(failed))


def run(options: argparse.Namespace, book: Book) -> tuple[str, int]:
    """What a command has to say, and its exit code."""
    if options.command == "list":
        return listing(book), 0
    if options.command == "show":
        return book.find(options.name).base, 0
    folder: Path = options.folder
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"expected a folder, got the file {folder}")
    if options.command == "grade":
        return grade(options)
    if options.command == "diff":
        text, code = diff(book, folder)
        return text, code * options.check
    new, flags = book.find(options.name), {"force": options.force, "dry_run": options.dry_run}
    with contextlib.nullcontext() if options.dry_run else alone(folder):
        return add(book, new, folder, **flags), 0


def tell(text: str) -> None:
    """Print to standard output."""
    if sys.stdout is None:
        raise CommandError("cannot write standard output: it is closed")
    try:
        sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
        sys.stdout.flush()
    except OSError as error:
        # Or Python tries once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # The reader, `head` say, has enough.
            raise CommandError(f"cannot write standard output: {error.strerror}") from error


def main(
    arguments: Sequence[str] | None = None,
    *,
    root: Traversable | None = None,
    version: str = __version__,
) -> int:
    """Run the command on the loss files in `root`, the installed ones if None: its exit code."""
    if arguments is None:  # Clean up when killed.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = parser(version).parse_args(arguments)
    try:
        text, code = run(options, Book(root or files("lossbook"), version))
        tell(text)
        return code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except CommandError as error:
        why, code = str(error), error.code
    except OSError as error:
        why, code = f"{error.filename}: {error.strerror}", 2
    with contextlib.suppress(OSError):  # It may be closed.
        print(f"lossbook: {why}", file=sys.stderr)
    return code
