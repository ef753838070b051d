"""The command line, on two fabricated versions of a small book and on the real losses."""

import ast
import hashlib
import importlib
import json
import os
import signal
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import lossbook
from lossbook import cli

ROOT = Path(cli.__file__).parent
LOSSES = sorted(
    path
    for path in [*map(ROOT.joinpath, cli.APART), *ROOT.glob("*/*.py")]
    if path.exists() and path.name != "__init__.py" and path.parent.name != "book"
)


def isolated(path):
    """A command line that runs the lossbook at `path` where there is the standard library only."""
    program = f"import sys; sys.path.insert(0, {str(path)!r})\nfrom lossbook.cli import main\n"
    return [sys.executable, "-I", "-S", "-c", program + "sys.exit(main())"]


ALONE = isolated(ROOT.parent)


def command(*arguments, alone=ALONE, **options):
    """A run of the command in a process of its own."""
    words, options = [*alone, *map(str, arguments)], {"stdout": -1, "stderr": -1} | options
    return subprocess.run(words, check=False, **options)


FOCAL = '''"""Focal loss."""

__all__ = ["focal_loss"]


def focal_loss(p):
    """Focal loss, one value per probability.

    More.
    """
    return (1 - p) ** 2  # Times log p.
'''
VALUE = FOCAL.replace("** 2", "** 3")
NUMERICS = FOCAL.replace("(1 - p) ** 2", "(1 - p) * (1 - p)")
TEXT = (
    FOCAL.replace("More.", "Less.")
    .replace("  # Times log p.", "")
    .replace("(1 - p) ** 2", "(\n        1 - p\n    ) ** 2")
)
EDITED = FOCAL.replace("focal_loss(p)", "focal_loss(p, q=0)")
HUBER = '''"""Huber loss."""


def huber_loss(r):
    """Huber loss, one value per residual."""
    return _half(r)


def _half(r):
    return r * r / 2


def smooth_l1_loss(r):
    return r
'''
ALIASES = """
focal_loss = ["FocalCrossentropy", "focal_loss_with_logits"]
none = ["HingeEmbeddingLoss"]
"""
CRITERION = '''"""Criterion."""


class Criterion:
    """Reduces."""
'''


class Bench:
    """Publishes books, runs the command on them, and holds the folder that is copied to."""

    def __init__(self, tmp_path, captured):
        self.tmp_path, self.captured, self.folder = tmp_path, captured, tmp_path / "src"

    def publish(self, version, focal=FOCAL, changes=""):
        root = self.tmp_path / version
        for name, text in {
            "__init__.py": "",
            "cli.py": "",
            "criterion.py": CRITERION,
            "classification/__init__.py": "",
            "classification/focal.py": focal,
            "regression/huber.py": HUBER,
            "book/pages.py": "def pages():\n    pass\n",
            "aliases.toml": ALIASES,
            "changes.toml": changes,
        }.items():
            if text is not None:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(text.encode())

    def run(self, version, *arguments):
        """The exit code, standard output and standard error of a command."""
        words = [str(argument) for argument in arguments]
        code = cli.main(words, root=self.tmp_path / version, version=version)
        out, err = self.captured.readouterr()
        return code, out.decode(), err.decode()

    def add(self, version, *flags):
        return self.run(version, "add", "focal", self.folder, *flags)

    def diff(self, version, *flags):
        return self.run(version, "diff", self.folder, *flags)

    @property
    def file(self):
        return self.folder / "focal.py"

    @property
    def lock(self):
        return self.folder / "lossbook.lock"

    def edit(self, old="focal_loss(p)", new="focal_loss(p, q=0)"):
        text = self.file.read_bytes().decode()
        assert old in text
        self.file.write_bytes(text.replace(old, new).encode())

    def tree(self):
        paths = sorted(self.folder.rglob("*")) if self.folder.exists() else [None]
        return {path: path and path.is_file() and path.read_bytes() for path in paths}


@pytest.fixture
def bench(tmp_path, capsysbinary):
    bench = Bench(tmp_path, capsysbinary)
    bench.publish("0.1.0")
    return bench


def status(out, file="focal.py"):
    """What a diff says of one file."""
    (line,) = [line for line in out.splitlines() if line.startswith(f"{file} ")]
    return line.removeprefix(file).strip()


def told(error):
    """The text of an error, which is one line."""
    assert error.startswith("lossbook: ")
    assert error.endswith("\n")
    assert error.count("\n") == 1
    return error


# Names


def test_list_shows_each_public_name_under_its_file(bench):
    assert bench.run("0.1.0", "list") == (
        0,
        "criterion.py\n"
        "  Criterion       Reduces.\n"
        "classification/focal.py\n"
        "  focal_loss      Focal loss, one value per probability.\n"
        "regression/huber.py\n"
        "  huber_loss      Huber loss, one value per residual.\n"
        "  smooth_l1_loss\n",
        "",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("focal_loss", FOCAL),
        ("focal-loss", FOCAL),
        ("focalloss", FOCAL),
        ("focal", FOCAL),
        ("Focal", FOCAL),
        ("classification/focal", FOCAL),
        ("classification/focal.py", FOCAL),
        ("smooth-l1_loss", HUBER),
        ("SmoothL1Loss", HUBER),
        ("smooth_l1", HUBER),
        ("nn.HuberLoss", HUBER),
        ("FocalLoss", FOCAL),
        ("FocalCrossentropy", FOCAL),
        ("keras.losses.focal_crossentropy", FOCAL),
        ("F.focal_loss_with_logits", FOCAL),
        ("Criterion", CRITERION),
        ("criterion", CRITERION),
    ],
)
def test_a_loss_has_many_spellings(bench, name, text):
    assert bench.run("0.1.0", "show", name) == (0, text, "")


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("focl_loss", "did you mean focal_loss"),
        ("huberr", "did you mean huber"),
        ("zzz", "zzz'; `lossbook list`"),
        ("", "''; `lossbook list`"),
        ("pages", "`lossbook list`"),
        ("_half", "`lossbook list`"),
        ("regression/focal", "classification/focal"),
        ("focal_crosentropy", "did you mean FocalCrossentropy"),
        ("torch.nn.nothing", "`lossbook list`"),
        ("loss", "`lossbook list`"),
    ],
)
def test_an_unknown_name_suggests_the_nearest_and_exits_with_2(bench, name, guess):
    for command in (["show", name], ["add", name, bench.folder]):
        code, out, err = bench.run("0.1.0", *command)
        assert (code, out) == (2, "")
        assert f"no loss is called {name!r}" in told(err)
        assert guess in err
    assert not bench.folder.exists()


def test_a_loss_of_another_library_that_has_no_equal_is_said_to_have_none(bench):
    for name in ("HingeEmbeddingLoss", "F.hinge_embedding_loss"):
        code, out, err = bench.run("0.1.0", "show", name)
        assert (code, out) == (2, "")
        assert (
            told(err) == f"lossbook: no loss here equals {name}; `lossbook list` names them all\n"
        )


def test_the_version_is_told(bench):
    with pytest.raises(SystemExit, match="0"):
        bench.run("0.1.0", "--version")
    assert bench.captured.readouterr().out == b"lossbook 0.1.0\n"


def test_no_command_is_an_error_of_usage(bench):
    with pytest.raises(SystemExit, match="2"):
        bench.run("0.1.0")


# Adding


def test_add_writes_the_text_under_one_line_and_records_it(bench):
    sha256 = hashlib.sha256(FOCAL.encode()).hexdigest()
    stamp = f"# lossbook: focal 0.1.0 sha256:{sha256[:16]} https://lossbook.example/ MIT-0\n"
    assert bench.add("0.1.0") == (0, f"{bench.file}: written, lossbook 0.1.0\n", "")
    assert bench.file.read_bytes().decode() == stamp + FOCAL
    entry = {"base": FOCAL, "name": "focal", "sha256": sha256, "version": "0.1.0"}
    assert bench.lock.read_text() == json.dumps({"focal.py": entry}, indent=2) + "\n"


def test_the_lock_does_not_depend_on_the_order_of_adding(bench):
    for name in ("huber", "focal"):
        bench.run("0.1.0", "add", name, bench.folder)
    first = bench.tree()
    assert list(json.loads(bench.lock.read_text())) == ["focal.py", "huber.py"]
    for path in first:
        path.unlink()
    for name in ("focal", "huber"):
        bench.run("0.1.0", "add", name, bench.folder)
    assert bench.tree() == first


def test_adding_again_changes_nothing(bench):
    bench.add("0.1.0")
    bench.publish("0.2.0")
    before = bench.tree()
    for version in ("0.1.0", "0.2.0"):
        code, out, _ = bench.add(version)
        assert (code, out) == (0, f"{bench.file}: kept, it is the text of lossbook {version}\n")
        assert bench.tree() == before


def test_a_missing_folder_is_made_with_its_parents(bench):
    bench.folder = bench.folder / "a" / "b"
    assert bench.add("0.1.0")[0] == 0
    assert bench.file.is_file()


def test_add_updates_an_unedited_older_copy_and_says_what_changed(bench):
    changes = '["0.2.0"]\nfocal = { kind = "value", note = "The exponent is 3." }\n'
    bench.publish("0.2.0", VALUE, changes)
    bench.add("0.1.0")
    code, out, _ = bench.add("0.2.0")
    assert code == 0
    assert out == (
        f"{bench.file}: updated, lossbook 0.1.0 to 0.2.0 (value)\n"
        "  0.2.0 (value): The exponent is 3.\n"
    )
    stamp, _, text = bench.file.read_text().partition("\n")
    assert stamp.startswith("# lossbook: focal 0.2.0 ")
    assert text == VALUE
    assert json.loads(bench.lock.read_text())["focal.py"]["base"] == VALUE


def test_a_copy_without_its_stamp_is_still_unedited(bench):
    bench.publish("0.2.0", VALUE)
    bench.add("0.1.0")
    bench.file.write_text(FOCAL)
    assert status(bench.diff("0.1.0")[1]) == "current"
    assert "updated" in bench.add("0.2.0")[1]
    assert bench.file.read_text().endswith(VALUE)


def test_a_copy_pasted_from_the_page_is_adopted_untouched(bench):
    bench.folder.mkdir()
    bench.file.write_text(FOCAL)
    assert "kept" in bench.add("0.1.0")[1]
    assert bench.file.read_text() == FOCAL
    assert json.loads(bench.lock.read_text())["focal.py"]["version"] == "0.1.0"


def foreign(bench):
    bench.folder.mkdir()
    bench.file.write_text("mine = 1\n")


def edited(bench):
    bench.add("0.1.0")
    bench.edit()


def edited_without_lock(bench):
    edited(bench)
    bench.lock.unlink()


def newer(bench):
    bench.publish("0.3.0", NUMERICS)
    bench.add("0.3.0")


def other_loss(bench):
    bench.run("0.1.0", "add", "huber", bench.folder)
    (bench.folder / "huber.py").rename(bench.file)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (foreign, "no copy of focal that lossbook.lock knows"),
        (edited, "you edited it, see `lossbook diff`"),
        (edited_without_lock, "no copy of focal that lossbook.lock knows"),
        (newer, "from lossbook 0.3.0, newer than the installed 0.2.0"),
        (other_loss, "no copy of focal that lossbook.lock knows"),
    ],
)
def test_add_never_overwrites_unasked(bench, prepare, reason):
    bench.publish("0.2.0", VALUE)
    prepare(bench)
    before = bench.tree()
    for flags in ([], ["--dry-run"]):
        code, out, err = bench.add("0.2.0", *flags)
        assert (code, out) == (1, "")
        assert f"left {bench.file} as it is: " in told(err)
        assert reason in err
        assert "--force" in err
        assert bench.tree() == before

    assert bench.add("0.2.0", "--force") == (0, f"{bench.file}: overwritten, lossbook 0.2.0\n", "")
    assert bench.file.read_text().partition("\n")[2] == VALUE
    assert status(bench.diff("0.2.0")[1]) == "current"


def test_a_dry_run_says_the_same_and_writes_nothing(bench):
    bench.publish("0.2.0", VALUE)
    assert bench.add("0.1.0", "--dry-run")[1] == f"{bench.file}: would be written, lossbook 0.1.0\n"
    assert not bench.folder.exists()

    bench.add("0.1.0")
    before = bench.tree()
    assert "would be kept" in bench.add("0.1.0", "--dry-run")[1]
    assert "would be updated, lossbook 0.1.0 to 0.2.0" in bench.add("0.2.0", "--dry-run")[1]
    assert bench.tree() == before
    bench.edit()
    before = bench.tree()
    assert "would be overwritten" in bench.add("0.2.0", "--dry-run", "--force")[1]
    assert bench.tree() == before
    bench.lock.unlink()
    bench.add("0.2.0", "--dry-run", "--force")
    assert not bench.lock.exists()


def test_permissions_are_the_usual_ones_and_are_kept(bench):
    umask = os.umask(0o022)
    try:
        bench.add("0.1.0")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(bench.file.stat().st_mode) == 0o644
    bench.file.chmod(0o640)
    bench.edit()
    bench.add("0.1.0", "--force")
    assert stat.S_IMODE(bench.file.stat().st_mode) == 0o640


def test_a_symbolic_link_stays_one(bench):
    bench.publish("0.2.0", VALUE)
    bench.add("0.1.0")
    real = bench.tmp_path / "real.py"
    bench.file.rename(real)
    bench.file.symlink_to(real)
    bench.add("0.2.0")
    assert bench.file.is_symlink()
    assert real.read_text().endswith(VALUE)


# Trouble


def test_a_folder_that_is_a_file_or_lies_in_one(bench):
    file = bench.tmp_path / "notes.txt"
    file.write_text("mine")
    for folder in (file, file / "sub"):
        for command in (["add", "focal", folder], ["diff", folder]):
            code, out, err = bench.run("0.1.0", *command)
            assert (code, out) == (2, "")
            assert str(file) in told(err)
            assert ("expected a folder, got the file" in err) == (folder == file)
    assert file.read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="not even root can write to it")
def test_a_folder_that_cannot_be_written():
    for folder, said in (("/proc", "cannot write /proc/focal.py: "), ("/proc/sub", "/proc/sub: ")):
        done = command("add", "focal", folder)
        assert (done.returncode, done.stdout) == (2, b"")
        assert said in told(done.stderr.decode())


def test_a_folder_whose_name_is_no_text(bench):
    folder = os.fsdecode(b"sr\xff")
    cli.main(["add", "focal", folder, "--dry-run"], root=bench.tmp_path / "0.1.0", version="0.1.0")
    assert bench.captured.readouterr().out.startswith(b"sr\xff")


def entry(file="focal.py", **changed):
    sha256 = hashlib.sha256(FOCAL.encode()).hexdigest()
    fields = {"base": FOCAL, "name": "focal", "sha256": sha256, "version": "0.1.0"}
    return json.dumps({file: fields | changed})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "<<<<<<< HEAD\n{}\n",
        "[]",
        "3",
        "null",
        '{"focal.py": 3}',
        '{"focal.py": {}}',
        entry(base=FOCAL + "x"),
        entry(base=None),
        entry(base="\ud800"),
        entry(version="\x1b[2J"),
        entry(name="\ud800"),
        "[" * 100_000,
        entry(sha256="0" * 64),
        "\ufeff" + entry(),
    ],
)
def test_a_broken_lock_is_named_and_left_alone(bench, text):
    bench.folder.mkdir()
    bench.lock.write_bytes(text.encode())
    before = bench.tree()
    for result in (bench.add("0.1.0"), bench.add("0.1.0", "--force"), bench.diff("0.1.0")):
        assert result[:2] == (2, "")
        assert f"cannot read {bench.lock} (" in told(result[2])
    assert bench.tree() == before


def test_the_lock_of_the_last_test_is_whole_when_unbroken(bench):
    bench.folder.mkdir()
    bench.lock.write_text(entry())
    assert status(bench.diff("0.1.0")[1]) == "missing"


def test_a_lock_with_line_ends_and_fields_of_another_world_is_read(bench):
    bench.folder.mkdir()
    text = json.dumps(json.loads(entry(later="unknown")), indent=1)
    bench.lock.write_bytes(text.replace("\n", "\r\n").encode())
    bench.file.write_text(EDITED)
    assert status(bench.diff("0.1.0")[1]) == "your edit"


@pytest.mark.parametrize(
    "name",
    [
        *("../.env", "../secret.py", "sub/focal.py", "/etc/passwd", "/etc/secret.py", ".."),
        *("..\\secret.py", "C:secret.py", "C:\\secret.py", "\\\\host\\secret.py"),
        *(
            "",
            ".",
            ".env",
            "focal.py/",
            "./focal.py",
            "a\nb.py",
            "a\x1b[2J.py",
            "a\0.py",
            "\ud800.py",
        ),
    ],
)
def test_a_lock_names_files_beside_it_alone(bench, name):
    for secret in (".env", "secret.py"):
        (bench.tmp_path / secret).write_text("TOKEN = 1\n")
    bench.folder.mkdir()
    bench.lock.write_text(entry(file=name))
    for flags in ([], ["--check"]):
        code, out, err = bench.diff("0.1.0", *flags)
        assert (code, out) == (2, "")
        assert f"cannot read {bench.lock} (ValueError" in told(err)
        assert "TOKEN" not in err


def test_a_link_shows_copies_alone(bench):
    """A link that came with somebody's branch must not print a secret into a log."""
    secret = bench.tmp_path / ".env"
    secret.write_text("TOKEN = 1\n")
    bench.add("0.1.0")
    bench.edit()
    bench.file.rename(bench.tmp_path / "real.py")
    bench.file.symlink_to(bench.tmp_path / "real.py")
    assert status(bench.diff("0.1.0")[1]) == "your edit"
    bench.file.unlink()
    bench.file.symlink_to(secret)
    code, out, _ = bench.diff("0.1.0", "--check")
    assert (code, out) == (2, "focal.py  a link to what is no copy\n")


@pytest.mark.parametrize("name", ["focal.py", "lossbook.lock"])
def test_what_is_no_file_is_not_read(bench, name):
    bench.add("0.1.0")
    (bench.folder / name).unlink()
    os.mkfifo(bench.folder / name)  # Reading would wait for ever.
    for code, out, err in (bench.diff("0.1.0"), bench.add("0.1.0")):
        assert (code, out) == (2, "")
        assert f"expected a file, got {bench.folder / name}" in told(err)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_whole(bench, monkeypatch, error):
    bench.publish("0.2.0", VALUE)
    bench.add("0.1.0")
    before = bench.tree()

    def fail(*_):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    if isinstance(error, OSError):
        code, out, err = bench.add("0.2.0")
        assert (code, out) == (2, "")
        assert told(err) == f"lossbook: cannot write {bench.file}: disk full\n"
    else:
        assert bench.add("0.2.0") == (130, "", "")
    assert bench.tree() == before


SLOW = """
import os, pathlib, time
def wait(*_):
    print("ready", flush=True)
    time.sleep(60)
os.replace = wait
"""


@pytest.mark.parametrize(
    ("kill", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_killed_add_leaves_nothing_that_the_next_one_keeps(tmp_path, kill, code):
    assert command("add", "focal", tmp_path).returncode == 0
    before = {path.name: hash(path.read_bytes()) for path in tmp_path.iterdir()}
    running = subprocess.Popen(
        [*ALONE[:-1], SLOW + ALONE[-1], "add", "huber", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell that runs the tests in the background lets them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout.readline() == b"ready\n"
    running.send_signal(kill)
    assert running.communicate() == (b"", b"")
    assert running.returncode == code
    if kill != signal.SIGKILL:
        assert {path.name: hash(path.read_bytes()) for path in tmp_path.iterdir()} == before
    else:
        assert (tmp_path / cli.TEMPORARY).exists()
        assert b": kept, it is the text" in command("add", "focal", tmp_path).stdout
        assert {path.name: hash(path.read_bytes()) for path in tmp_path.iterdir()} == before


def test_a_link_in_the_place_of_the_temporary_is_not_followed(bench):
    victim = bench.tmp_path / "victim"
    victim.write_text("mine")
    bench.folder.mkdir()
    (bench.folder / cli.TEMPORARY).symlink_to(victim)
    assert bench.add("0.1.0")[0] == 0
    assert victim.read_text() == "mine"
    assert {path.name for path in bench.folder.iterdir()} == {"focal.py", "lossbook.lock"}


def test_adding_at_once_loses_no_entry(tmp_path):
    stems = [path.stem for path in LOSSES[:6]]
    running = [subprocess.Popen([*ALONE, "add", stem, tmp_path], stdout=-3) for stem in stems]
    assert [process.wait() for process in running] == [0] * len(stems)
    assert {*json.loads((tmp_path / "lossbook.lock").read_text())} == {f"{s}.py" for s in stems}


def interrupt_before_the_lock(bench, monkeypatch, *arguments):
    replace = os.replace

    def fail(source, target):
        if Path(target).name == "lossbook.lock":
            raise OSError("disk full")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        code, _, err = bench.add(*arguments)
    assert code == 2
    assert str(bench.lock) in told(err)


def test_a_file_without_its_lock_is_understood_and_mended(bench, monkeypatch):
    interrupt_before_the_lock(bench, monkeypatch, "0.1.0")
    assert not bench.lock.exists()
    assert status(bench.diff("0.1.0")[1]) == "current"
    assert "kept" in bench.add("0.1.0")[1]
    assert json.loads(bench.lock.read_text())["focal.py"]["base"] == FOCAL


def test_a_file_ahead_of_its_lock_is_understood_and_mended(bench, monkeypatch):
    bench.publish("0.2.0", VALUE)
    bench.publish("0.3.0", NUMERICS)
    bench.add("0.1.0")
    interrupt_before_the_lock(bench, monkeypatch, "0.2.0")
    assert json.loads(bench.lock.read_text())["focal.py"]["base"] == FOCAL
    assert status(bench.diff("0.2.0")[1]) == "current"
    assert status(bench.diff("0.3.0")[1]) == "upstream change of value, 0.2.0 to 0.3.0"
    bench.edit()
    assert status(bench.diff("0.2.0")[1]) == "your edit"
    bench.edit("focal_loss(p, q=0)", "focal_loss(p)")
    assert "kept" in bench.add("0.2.0")[1]
    assert json.loads(bench.lock.read_text())["focal.py"]["base"] == VALUE


def test_a_file_behind_its_lock_is_understood_and_mended(bench):
    bench.publish("0.2.0", VALUE)
    bench.add("0.1.0")
    old = bench.file.read_text()
    bench.add("0.2.0")
    bench.file.write_text(old)
    assert status(bench.diff("0.2.0")[1]) == "upstream change of value, 0.1.0 to 0.2.0"
    assert "updated, lossbook 0.1.0 to 0.2.0" in bench.add("0.2.0")[1]
    assert status(bench.diff("0.2.0")[1]) == "current"


# Comparing


@pytest.mark.parametrize(
    ("yours", "upstream", "words", "code"),
    [
        (FOCAL, FOCAL, "current", 0),
        (EDITED, FOCAL, "your edit", 0),
        (FOCAL, VALUE, "upstream change of value, 0.1.0 to 0.2.0", 1),
        (FOCAL, NUMERICS, "upstream change of numerics, 0.1.0 to 0.2.0", 0),
        (FOCAL, TEXT, "upstream change of text, 0.1.0 to 0.2.0", 0),
        (EDITED, VALUE, "your edit; upstream change of value, 0.1.0 to 0.2.0", 1),
        (EDITED, NUMERICS, "your edit; upstream change of numerics, 0.1.0 to 0.2.0", 0),
        (EDITED, TEXT, "your edit; upstream change of text, 0.1.0 to 0.2.0", 0),
        (VALUE, VALUE, "current", 0),
        (None, VALUE, "missing", 2),
        (None, FOCAL, "missing", 2),
        (FOCAL, None, "removed upstream", 0),
        (EDITED, None, "your edit; removed upstream", 0),
    ],
)
def test_three_ways(bench, yours, upstream, words, code):
    kind = {VALUE: "value", NUMERICS: "numerics", TEXT: "text"}.get(upstream)
    changes = f'["0.2.0"]\nfocal = {{ kind = "{kind}", note = "Changed." }}\n' if kind else ""
    bench.publish("0.2.0", upstream, changes)
    bench.add("0.1.0")
    if yours is None:
        bench.file.unlink()
    else:
        bench.edit(FOCAL, yours)
    before = bench.tree()

    result, out, err = bench.diff("0.2.0")
    assert (result, status(out), err) == (0, words, "")
    assert bench.diff("0.2.0", "--check") == (code, out, "")
    assert bench.tree() == before

    assert ("+++ focal.py (yours)" in out) == ("your edit" in words)
    assert ("+++ focal.py (lossbook 0.2.0)" in out) == ("upstream change" in words)
    assert ("0.2.0 (" in out) == ("upstream change" in words)
    if yours == EDITED:
        assert "-def focal_loss(p):\n+def focal_loss(p, q=0):\n" in out
    if upstream == VALUE and "upstream" in words:
        assert (
            "-    return (1 - p) ** 2  # Times log p.\n+    return (1 - p) ** 3  # Times log p.\n"
        ) in out


def declare(*entries):
    return "".join(
        f'["{version}"]\nfocal = {{ kind = "{kind}", note = "{note}" }}\n'
        for version, kind, note in entries
    )


@pytest.mark.parametrize(
    ("upstream", "entries", "kind", "notes"),
    [
        (NUMERICS, [("0.9.0", "numerics", "A."), ("0.10.0", "numerics", "B.")], "numerics", "AB"),
        (NUMERICS, [("0.10.0", "numerics", "B."), ("0.9.0", "value", "A.")], "value", "AB"),
        (NUMERICS, [("0.9.0", "text", "A."), ("0.10.0", "numerics", "B.")], "numerics", "AB"),
        (NUMERICS, [("0.8.0", "value", "A."), ("0.9.0", "numerics", "B.")], "numerics", "B"),
        (NUMERICS, [("0.10.1", "value", "A."), ("0.10.0", "numerics", "B.")], "numerics", "B"),
        (NUMERICS, [], "value", ""),
        (NUMERICS, [("0.9.0", "text", "A.")], "value", "A"),
        (NUMERICS, [("0.8.0", "numerics", "A.")], "value", ""),
        (TEXT, [], "text", ""),
        (TEXT, [("0.9.0", "value", "A."), ("0.10.0", "value", "Undone.")], "text", "AU"),
        ("def focal_loss(:\n", [], "value", ""),
    ],
)
def test_the_kind_of_a_change_over_several_versions(bench, upstream, entries, kind, notes):
    bench.publish("0.8.0")
    bench.publish("0.10.0", upstream, declare(*entries))
    if upstream.startswith("def"):  # A text that is no program can only be met in a lock.
        bench.publish("0.8.0", upstream)
        bench.publish("0.10.0")
        base = {"version": "0.8.0", "base": upstream}
        sha256 = hashlib.sha256(upstream.encode()).hexdigest()
        bench.folder.mkdir()
        bench.file.write_text(upstream)
        bench.lock.write_text(entry(**base, sha256=sha256))
    else:
        bench.add("0.8.0")
    code, out, _ = bench.diff("0.10.0", "--check")
    assert status(out) == f"upstream change of {kind}, 0.8.0 to 0.10.0"
    assert code == (kind == "value")
    shown = [line.split("): ")[1][0] for line in out.split("---")[0].splitlines() if "): " in line]
    assert "".join(shown) == notes
    undeclared = not any(declared != "text" for _, declared, _ in entries if notes)
    assert ("no release declares" in out) == (kind == "value" and undeclared)


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        ('"""A."""\nx = 1', '"""B."""\nx = 1', True),
        ('"""A."""\nx = 1', "x = 1", True),
        ("x = 1  # A", "# B\nx = (\n    1\n)", True),
        ('class A:\n    "A."\n    x = 1', 'class A:\n    "B."\n    x = 1', True),
        ("x = 1", "x = 2", False),
        ("def f():\n    return 1", "def f():\n    return 2", False),
        ('x = 1\n"A."', 'x = 1\n"B."', False),
        ("def f(x: int): ...", "def f(x: float): ...", False),
    ],
)
def test_only_docstrings_comments_and_formatting_are_text(old, new, equal):
    assert (cli.program(old) == cli.program(new)) == equal


def test_a_release_candidate_counts_as_its_release(bench):
    bench.publish("0.2.0rc1", NUMERICS, declare(("0.2.0", "numerics", "A.")))
    bench.add("0.1.0")
    assert status(bench.diff("0.2.0rc1")[1]) == "upstream change of numerics, 0.1.0 to 0.2.0rc1"
    bench.publish("0.2.0", VALUE)
    bench.add("0.2.0rc1")
    assert status(bench.diff("0.2.0")[1]) == "upstream change of value, 0.2.0rc1 to 0.2.0"


def test_a_copy_from_a_newer_version_is_no_upstream_change(bench):
    bench.publish("0.3.0", VALUE)
    bench.add("0.3.0")
    code, out, _ = bench.diff("0.1.0", "--check")
    assert (code, status(out)) == (0, "from lossbook 0.3.0, newer than the installed 0.1.0")
    bench.edit()
    code, out, _ = bench.diff("0.1.0", "--check")
    assert code == 0
    assert status(out) == "your edit; from lossbook 0.3.0, newer than the installed 0.1.0"


def test_line_ends_are_no_edit(bench):
    bench.publish("0.2.0", VALUE)
    bench.add("0.1.0")
    crlf = bench.file.read_bytes().replace(b"\n", b"\r\n")
    for text in (crlf, crlf.replace(b"\r\n", b"\n", 3), crlf.partition(b"\r\n")[2]):
        bench.file.write_bytes(text)
        assert bench.diff("0.1.0") == (0, "focal.py  current\n", "")
        assert "kept" in bench.add("0.1.0")[1]
        assert bench.file.read_bytes() == text
    bench.edit()
    _, out, _ = bench.diff("0.1.0")
    assert out.count("\n-") == 2  # The header and one line.
    assert "-def focal_loss(p):\n+def focal_loss(p, q=0):\n" in out
    bench.file.write_bytes(crlf)
    assert "updated, lossbook 0.1.0 to 0.2.0" in bench.add("0.2.0")[1]


def test_an_installed_book_with_other_line_ends_is_the_same_book(bench):
    bench.publish("0.2.0", FOCAL.replace("\n", "\r\n"))
    bench.add("0.1.0")
    assert bench.diff("0.2.0") == (0, "focal.py  current\n", "")


@pytest.mark.parametrize("lock", [True, False], ids=["lock", "no lock"])
def test_a_renamed_copy_is_compared_with_what_it_began_as(bench, lock):
    bench.publish("0.2.0", VALUE)
    bench.add("0.1.0")
    bench.file.rename(bench.folder / "mine.py")
    if not lock:
        bench.lock.unlink()
    code, out, _ = bench.diff("0.2.0", "--check")
    assert (code, status(out, "mine.py")) == (1, "upstream change of value, 0.1.0 to 0.2.0")
    assert "focal.py  " not in out


def test_a_renamed_copy_keeps_its_base_through_edits_and_the_next_add(bench):
    bench.publish("0.2.0", VALUE)
    bench.add("0.1.0")
    bench.edit()
    bench.file.rename(bench.folder / "mine.py")
    words = "your edit; upstream change of value, 0.1.0 to 0.2.0"
    _, out, _ = bench.diff("0.2.0")
    assert status(out, "mine.py") == words
    assert "--- mine.py (lossbook 0.1.0)\n+++ mine.py (yours)\n" in out
    assert "written" in bench.add("0.2.0")[1]
    _, out, _ = bench.diff("0.2.0")
    assert (status(out), status(out, "mine.py")) == ("current", words)
    assert json.loads(bench.lock.read_text()).keys() == {"focal.py", "mine.py"}


def test_a_second_copy_under_another_name_is_compared_too(bench):
    bench.add("0.1.0")
    (bench.folder / "mine.py").write_text(bench.file.read_text().replace("(p)", "(p, q=0)"))
    bench.publish("0.2.0", VALUE)
    words = "upstream change of value, 0.1.0 to 0.2.0"
    _, out, _ = bench.diff("0.2.0")
    assert (status(out), status(out, "mine.py")) == (words, f"your edit; {words}")
    bench.file.unlink()
    assert status(bench.diff("0.2.0")[1], "mine.py") == f"your edit; {words}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""', "'''"),
        ('["focal_loss"]', "['focal_loss']"),
        ("** 2  #", "**2 #"),
        ("# lossbook", "# Licence: mine\n# lossbook"),
        ("MIT-0\n", "MIT-0  # noqa: E501\n\n"),
        ("# Times log p.\n", "# Times log p."),
    ],
)
def test_what_a_formatter_did_is_your_edit(bench, old, new):
    bench.add("0.1.0")
    bench.edit(old, new)
    _, out, _ = bench.diff("0.1.0")
    assert status(out) == "your edit"
    assert "+++ focal.py (yours)\n" in out
    assert ("\n\\ No newline at end of file\n" in out) == (bench.file.read_text()[-1] != "\n")
    assert bench.add("0.1.0")[0] == 1


def test_a_copy_in_another_encoding_is_your_edit(bench):
    bench.add("0.1.0")
    bench.file.write_bytes(bench.file.read_bytes().replace(b"Times", b"Fois \xe9"))
    code, out, err = bench.diff("0.1.0")
    assert (code, status(out), err) == (0, "your edit", "")


def test_a_lost_lock_costs_an_unedited_copy_nothing(bench):
    bench.publish("0.2.0", VALUE)
    bench.add("0.1.0")
    bench.lock.unlink()
    code, out, _ = bench.diff("0.2.0", "--check")
    assert (code, status(out)) == (1, "upstream change of value, 0.1.0 to 0.2.0")
    assert "updated" in bench.add("0.2.0")[1]


def test_an_edited_copy_that_cannot_be_compared_fails_the_check(bench):
    bench.publish("0.2.0", VALUE)
    edited_without_lock(bench)
    assert status(bench.diff("0.1.0")[1]) == "your edit"
    code, out, _ = bench.diff("0.2.0")
    assert (code, status(out)) == (0, "edited, and lossbook.lock has no text to compare it with")
    assert bench.diff("0.2.0", "--check")[0] == 2


def test_a_diff_of_several_files_is_a_table_and_then_the_differences(bench, monkeypatch):
    bench.publish("0.2.0", VALUE, declare(("0.2.0", "value", "The exponent is 3.")))
    for name in ("focal", "huber", "criterion"):
        bench.run("0.1.0", "add", name, bench.folder)
    (bench.folder / "mine.py").write_text("mine = 1\n")
    (bench.folder / "folder.py").mkdir()
    (bench.folder / "huber.py").unlink()
    monkeypatch.chdir(bench.folder)
    code, out, err = bench.run("0.2.0", "diff", "--check")
    assert (code, err) == (2, "")
    table, _, differences = out.partition("\n\n")
    assert table == (
        "criterion.py  current\n"
        "focal.py      upstream change of value, 0.1.0 to 0.2.0\n"
        "              0.2.0 (value): The exponent is 3.\n"
        "huber.py      missing"
    )
    assert differences.startswith(
        "--- focal.py (lossbook 0.1.0)\n+++ focal.py (lossbook 0.2.0)\n@@"
    )


def test_nothing_to_compare_is_an_error(bench):
    for _ in range(2):
        code, out, err = bench.diff("0.1.0", "--check")
        assert (code, out) == (2, "")
        assert f"in {bench.folder}, got neither" in told(err)
        bench.folder.mkdir(exist_ok=True)


# The real losses


@pytest.fixture
def real(capsysbinary):
    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        assert (code, err) == (0, b"")
        return out

    return run


def test_stems_are_unique_since_copies_share_a_folder():
    assert len({path.stem for path in LOSSES}) == len(LOSSES)


@pytest.mark.parametrize("path", LOSSES, ids=lambda path: path.stem)
def test_show_prints_the_bytes_of_the_file_under_each_of_its_names(real, path):
    place = path.relative_to(ROOT).with_suffix("")
    module = importlib.import_module("lossbook." + ".".join(place.parts))
    assert set(cli.public(path.read_text())) == set(module.__all__)
    for name in (path.stem, place.as_posix(), *module.__all__):
        assert real("show", name) == path.read_bytes()


@pytest.mark.parametrize("path", LOSSES, ids=lambda path: path.stem)
def test_a_copy_is_the_file_under_one_line_of_its_width(real, path, tmp_path):
    real("add", path.stem, tmp_path)
    copy = (tmp_path / path.name).read_bytes()
    stamp, _, rest = copy.partition(b"\n")
    assert rest == path.read_bytes()
    assert stamp.startswith(f"# lossbook: {path.stem} {lossbook.__version__} sha256:".encode())
    assert len(stamp) <= 100
    assert ast.dump(ast.parse(copy)) == ast.dump(ast.parse(rest))
    assert real("diff", "--check", tmp_path) == f"{path.name}  current\n".encode()


def test_list_names_what_the_package_exports(real):
    lines = real("list").decode().splitlines()
    listed = {line.split()[0] for line in lines if line.startswith("  ")}
    homes = {name: getattr(lossbook, name).__module__ for name in lossbook.__all__}
    assert {name for name, home in homes.items() if home != "lossbook.examination"} <= listed
    assert {line for line in lines if not line.startswith("  ")} == {
        path.relative_to(ROOT).as_posix() for path in LOSSES
    }


def test_every_copy_runs_where_there_is_only_torch(real, tmp_path):
    for path in LOSSES:
        real("add", path.stem, tmp_path)
    program = f"""
import importlib, sys
sys.path.insert(0, {str(tmp_path)!r})
for name in {[path.stem for path in LOSSES]!r}:
    module = importlib.import_module(name)
    assert module.__file__.startswith({str(tmp_path)!r}), module.__file__
    assert all(callable(getattr(module, public)) for public in module.__all__)
import torch
from focal import focal_loss
print(round(float(focal_loss(torch.zeros(1, 2), torch.tensor([0]))), 6))
assert not [name for name in sys.modules if name.partition(".")[0] == "lossbook"]
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("0.173287\n", 0), done.stderr


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "archive"])
def test_every_command_needs_the_standard_library_only(tmp_path, zipped):
    place = ROOT.parent
    if zipped:
        place = tmp_path / "lossbook.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for path in [*ROOT.rglob("*.py"), *ROOT.glob("*.toml")]:
                archive.write(path, path.relative_to(ROOT.parent))
    alone, folder = isolated(place), tmp_path / "src"
    for arguments, said in (
        (["--help"], b"usage: lossbook "),
        (["--version"], f"lossbook {lossbook.__version__}\n".encode()),
        (["list"], b"criterion.py\n"),
        (["show", "MSELoss"], (ROOT / "regression/squared_error.py").read_bytes()),
        (["add", "gathered", folder], f"{folder}/gather".encode()),
        (["add", "focal", folder], f"{folder}/focal.py: written".encode()),
        (["diff", folder, "--check"], b"focal.py      current\n"),
    ):
        done = command(*arguments, alone=alone)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(said)


def test_a_reader_who_has_enough_is_no_error():
    running = subprocess.Popen([*ALONE, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.close()
    with running.stderr:
        assert running.stderr.read() == b""
    assert running.wait() == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_standard_output_that_is_full_or_closed_is_named():
    with open("/dev/full", "wb") as full:
        done = command("list", stdout=full)
    said = "lossbook: cannot write standard output: No space left on device\n"
    assert (done.returncode, told(done.stderr.decode())) == (2, said)
    done = command("-c", '"$@" >&-', "sh", *ALONE, "list", alone=["sh"])
    assert done.returncode == 2
    assert told(done.stderr.decode()) == "lossbook: cannot write standard output: it is closed\n"
    done = command("-c", '"$@" >&- 2>&-', "sh", *ALONE, "list", alone=["sh"])
    assert done.returncode == 2


def test_python_m_lossbook_is_the_same_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lossbook", "show", "huber"], cwd=tmp_path, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (ROOT / "regression" / "huber.py").read_bytes()


def test_every_loss_of_torch_is_found_or_said_to_have_no_equal(real):
    aliases = tomllib.loads((ROOT / "aliases.toml").read_text())
    none = {cli.key(name) for name in aliases["none"]}
    functions = [name for name in dir(functional) if name.endswith(("_loss", "_entropy", "kl_div"))]
    for name in [*torch.nn.modules.loss.__all__, *functions, "binary_cross_entropy_with_logits"]:
        if cli.key(name) not in none and name != "NLLLoss2d":  # An old name of NLLLoss.
            real("show", name)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("torch.nn.MSELoss", "regression/squared_error"),
        ("L1Loss", "regression/absolute_error"),
        ("F.smooth_l1_loss", "regression/huber"),
        ("PoissonNLLLoss", "regression/poisson_nll"),
        ("nn.CrossEntropyLoss", "classification/cross_entropy"),
        ("F.nll_loss", "classification/cross_entropy"),
        ("keras.losses.SparseCategoricalCrossentropy", "classification/cross_entropy"),
        ("BCEWithLogitsLoss", "classification/binary_cross_entropy"),
        ("BinaryFocalCrossentropy", "classification/focal"),
        ("MultiMarginLoss", "classification/hinge"),
        ("KLDivLoss", "distribution/kl_divergence"),
        ("CosineEmbeddingLoss", "embedding/cosine"),
        ("TripletMarginLoss", "embedding/triplet"),
        ("optax.losses.ntxent", "embedding/info_nce"),
        ("MarginRankingLoss", "ranking/margin_ranking"),
        ("CTCLoss", "sequence/ctc"),
    ],
)
def test_names_of_other_libraries_find_ours(real, name, place):
    assert real("show", name) == (ROOT / f"{place}.py").read_bytes()


def test_a_name_means_one_file_and_an_alias_one_loss():
    book = cli.Book(ROOT, lossbook.__version__)
    homes = {}
    for stem, record in book.records.items():
        for name in (stem, *cli.public(record.base)):
            assert homes.setdefault(cli.key(name), stem) == stem
    aliases = book.table("aliases.toml")
    assert aliases.keys() - {"none"} <= {*lossbook.__all__}
    theirs = [cli.key(name) for names in aliases.values() for name in names]
    assert [name for name in theirs if name in homes] == [], "found without an alias"
    twice = {name for name in theirs if theirs.count(name) > 1}
    assert twice <= {cli.key("kl_div"), cli.key("multilabel_soft_margin_loss")}


def flaws(text):
    """What is wrong with a record of changes, in words."""
    found = []
    for version, entries in tomllib.loads(text).items():
        if version.count(".") != 2 or cli.release(version) > cli.release(lossbook.__version__):
            found.append(f"{version} is no version up to {lossbook.__version__}")
        for stem, change in entries.items():
            if change.keys() != {"kind", "note"}:
                found.append(f"{version} {stem}: expected kind and note, got {list(change)}")
            elif change["kind"] not in ("value", "numerics", "text"):
                found.append(f"{version} {stem}: no kind is called {change['kind']}")
            elif not change["note"].endswith("."):
                found.append(f"{version} {stem}: expected a sentence, got {change['note']}")
    return found


def test_the_record_of_changes_is_in_order():
    text = (ROOT / "changes.toml").read_text()
    assert flaws(text) == []
    example = "\n".join(line[6:] for line in text.splitlines()[3:5])
    (version,) = tomllib.loads(example)
    assert flaws(example.replace(version, lossbook.__version__)) == []
    for broken in (
        declare(("999.0.0", "value", "A.")),
        declare(("0.1", "value", "A.")),
        declare(("0.1.0", "fix", "A.")),
        declare(("0.1.0", "value", "a")),
        '["0.1.0"]\nfocal = { kind = "value" }\n',
    ):
        assert len(flaws(broken)) == 1
