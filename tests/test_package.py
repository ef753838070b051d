"""What is published: the sdist, the wheel, the page on an index, and what each part needs."""

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lossbook

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

# Modules that are not called as what installs them.
INSTALLED_BY = {
    "PIL": "pillow",
    "ot": "pot",
    "otter": "otter-grader",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "vl_convert": "vl-convert-python",
    "yaml": "pyyaml",
}


# Peers that are installed without what they require: Liger's chunked losses need torch alone, its
# requirements bring a GPU's libraries.
APART = {"liger-kernel"}


def declared(*extras):
    """What the package and some of its extras install, by name."""
    names = set()
    for line in [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]:
        requirement = Requirement(line)
        inner = declared(*requirement.extras) if requirement.name == "lossbook" else set()
        names |= inner or {canonicalize_name(requirement.name)}
    return names


def imported(text):
    """The names of what a text's imports need, beyond the standard library and this repository."""
    modules = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add(node.module.partition(".")[0])
    modules -= {*sys.stdlib_module_names, "lossbook", "tests"}
    return {INSTALLED_BY.get(module, canonicalize_name(module)) for module in modules}


@pytest.mark.parametrize(
    ("files", "extras"),
    [
        ("lossbook/*.py", ()),
        ("lossbook/book/*.py", ("book",)),
        ("lossbook/**/*.py", ("site", "test")),
        ("tests/**/*.py", ("test", "peers")),
    ],
)
def test_every_import_is_declared(files, extras):
    paths = sorted(ROOT.glob(files))
    assert paths
    needed = {(path, name) for path in paths for name in imported(path.read_text())}
    needed = {(path.relative_to(ROOT).as_posix(), name) for path, name in needed}
    absent = ("tests/test_contract.py", "library-that-nobody-has")  # A name for what is absent.
    missing = {place for place in needed if place[1] not in declared(*extras)} - {absent}
    assert {place for place in missing if place[1] not in APART} == set()


def test_what_an_import_needs_is_seen():
    text = (
        "import os, yaml\nfrom sklearn.svm import SVC\ndef f():\n    import a.b\nfrom . import c\n"
    )
    assert imported(text) == {"pyyaml", "scikit-learn", "a"}
    assert "torch" in declared()
    assert "scikit-learn" not in declared()
    assert {"torch", "scikit-learn", "mkdocs", "lark"} <= declared("test")


def test_what_is_declared_is_pinned():
    """So that a run tomorrow installs what today's run did."""
    pins = {
        canonicalize_name(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert declared("test", "peers") <= pins


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The tracked files, those of the sdist, and the wheel that is made of it."""
    folder = tmp_path_factory.mktemp("package")
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    tracked = [name for name in tracked if (ROOT / name).is_file()]
    for name in tracked:
        if not name.startswith("docs/"):
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "tree" / name).write_bytes((ROOT / name).read_bytes())

    def build(kind, tree):
        program = f"from setuptools import build_meta as b; b.build_{kind}({str(folder)!r})"
        done = subprocess.run([sys.executable, "-c", program], cwd=tree, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()

    build("sdist", folder / "tree")
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    held = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    build("wheel", source)
    (wheel,) = folder.glob("*.whl")
    return tracked, held, wheel


def test_the_sdist_is_the_package_and_what_builds_it(built):
    tracked, held, _ = built
    made = {"PKG-INFO", "setup.cfg"} | {name for name in held if ".egg-info/" in name}
    package = {name for name in tracked if name.startswith("lossbook/")}
    assert held - made == package | {"LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"}


def test_the_wheel_of_the_sdist_is_the_package(built):
    tracked, _, wheel = built
    assert wheel.name == f"lossbook-{lossbook.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert held == {name for name in tracked if name.startswith("lossbook/")}
        for name in held:
            assert archive.read(name) == (ROOT / name).read_bytes()


def test_the_wheel_works_from_its_archive(built, tmp_path):
    *_, wheel = built
    program = f"import sys; sys.path.insert(0, {str(wheel)!r})\n" + (
        "from lossbook.cli import main; sys.exit(main())"
    )
    for arguments in (["add", "MSELoss", tmp_path], ["diff", tmp_path, "--check"]):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program, *arguments], capture_output=True
        )
        assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"squared_error.py  current\n"


def test_no_link_of_the_readme_breaks_on_an_index():
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert len(links) >= 2
    own = PROJECT["urls"]["Repository"].rpartition("github.com/")[2]
    for link in links:
        assert link.startswith("https://"), link
        path = re.search(rf"{own}/(?:blob/)?main/(.+)", link)
        assert path is None or (ROOT / path[1]).is_file(), link


def test_the_wheel_is_tried_with_torch_alone_by_a_workflow():
    text = (ROOT / ".github/workflows/tests.yml").read_text()
    (program,) = re.findall(r"<<'PROGRAM'\n(.*?)\n +PROGRAM\n", text, re.DOTALL)
    lines = [line.removeprefix(" " * 10) for line in program.splitlines()]
    assert imported("\n".join(lines)) == set()
