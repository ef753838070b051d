"""The conventions as code: every rule is a function of text that yields what breaks it.

Each rule is tried twice: on the repository, where it must stay silent, and on planted violations,
where it must speak.
"""

import ast
import contextlib
import doctest
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml
from pybtex.database import parse_string

import lossbook
from lossbook.book.runs.chapters import ROOT, Fence, Settings, families, fences, split_front_matter
from tests.answers import Answers

FAMILIES = families()
LANGUAGES = {"python", "pycon", "py", "text", "console", "yaml", "toml", "json", "ini", "diff"}
LONGEST_CELL = 16, 28  # Statements, lines.

# What both site generators bring with them; Zensical ignores any other without a word.
PLUGINS = {"search", "autorefs", "mkdocstrings", "offline", "redirects"}

# Losses whose chapter is not written yet: they have a short page. The list can only shrink.
OWED: frozenset[str] = frozenset()

# Chapters that are not yet brought to the format of `form`. The list can only shrink.
OLD_FORMAT: frozenset[str] = frozenset()
LONGEST_OPEN = 3  # Lines of code that may stand open before the first figure.

JUPYTER = {
    "jupytext": {"formats": "md,ipynb"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
}
TYPES = {
    **dict.fromkeys(("title", "description", "family", "file", "paper", "task"), str),
    **dict.fromkeys(("target", "output"), str),
    **dict.fromkeys(("aliases", "losses", "robust_to", "sensitive_to", "see"), list),
    **dict.fromkeys(("year", "order"), int),
    "jupyter": dict,
}
ALWAYS = {"title", "description", "family", "losses", "see", "jupyter"}
OF_A_LOSS = {"paper", "year", "task", "target", "output", "robust_to", "sensitive_to"}


def difference(what: str, found: Iterable[str], expected: Iterable[str]) -> Iterator[str]:
    """What is missing of `expected`, and what `found` has besides."""
    found, expected = list(found), list(expected)
    if missing := [name for name in expected if name not in found]:
        yield f"{what}: {', '.join(missing)} missing"
    if besides := [name for name in found if name not in expected]:
        yield f"{what}: {', '.join(besides)} too many"
    if not missing and not besides and found != expected:
        yield f"{what}: expected the order {', '.join(expected)}"


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# The trees ---------------------------------------------------------------------------------------


def mirror(root: Path, owed: frozenset[str] = frozenset()) -> Iterator[str]:
    """A loss is a file, a chapter and a test of the same family and stem."""
    losses = {
        f"{p.parent.name}/{p.stem}" for f in FAMILIES for p in root.glob(f"lossbook/{f}/*.py")
    }
    losses = {name for name in losses if not name.endswith("/__init__")}
    chapters = {f"{p.parent.name}/{p.stem}" for f in FAMILIES for p in root.glob(f"docs/{f}/*.md")}
    tests = {
        f"{p.parent.name}/{p.stem.removeprefix('test_')}"
        for f in FAMILIES
        for p in root.glob(f"tests/{f}/test_*.py")
    }
    for name in sorted(owed & chapters | owed - losses):
        yield f"the chapter of {name} is no longer owed: take it off the list"
    for name in sorted(losses):
        if name not in chapters | owed:
            yield f"lossbook/{name}.py has no chapter docs/{name}.md"
        family, stem = name.split("/")
        if name not in tests:
            yield f"lossbook/{name}.py has no test tests/{family}/test_{stem}.py"
        if stem in ("base", "utils", "common"):
            yield f"lossbook/{name}.py is named for nothing that it does"
    for name in sorted(tests - losses):
        yield f"the test of {name} has no lossbook/{name}.py"
    for name in sorted(chapters - losses):
        file = front_matter((root / f"docs/{name}.md").read_text()).get("file")
        if not file:
            yield f"docs/{name}.md has no lossbook/{name}.py and names no other file"
        elif not (root / file).is_file():
            yield f"docs/{name}.md names {file}, which is not there"
    known = {*FAMILIES, "book", "__pycache__"}
    for folder in sorted(p for p in (root / "lossbook").iterdir() if p.is_dir()):
        if folder.name not in known:
            yield f"lossbook/{folder.name} is no family"


# Loss files --------------------------------------------------------------------------------------


def loss_file(text: str, address: str) -> Iterator[str]:
    """What is wrong with a loss file whose chapter stands at `address`."""
    tree = ast.parse(text)
    yield from imports(tree, {"torch"})
    yield from opening(ast.get_docstring(tree) or "", address)
    names = exports(tree)
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    public = {n.name for n in tree.body if hasattr(n, "name") and not n.name.startswith("_")}
    yield from difference("__all__", sorted(names), sorted(public))
    for name in names:
        if name not in functions:
            yield f"{name} is no function"
            continue
        helped = re.findall(r"^Helper of (.*)\.$", ast.get_docstring(functions[name]) or "", re.M)
        if helped and helped[0] not in [f"`{other}`" for other in names if other != name]:
            yield f"{name}: helper of {helped[0]}, which is no other name of this file"
        yield from (f"{name}: {said}" for said in signature(functions[name]))
        yield from (f"{name}: {said}" for said in docstring(functions[name]))
    yield from refusals(tree)


def imports(tree: ast.Module, allowed: set[str]) -> Iterator[str]:
    """Only the standard library and `allowed` may be imported."""
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = ["." * node.level + (node.module or "")]
        for module in modules:
            if module.partition(".")[0] not in allowed | sys.stdlib_module_names:
                yield f"line {node.lineno}: imports {module}"


def opening(text: str, address: str) -> Iterator[str]:
    """A module says in one line what it is, and ends with its chapter's address."""
    lines = text.splitlines() or [""]
    if not re.fullmatch(r"[A-Z].+: .+\.", lines[0]) or lines[1:2] != [""]:
        yield f"the first line must be 'Name: what it is.', got {lines[0]!r}"
    if lines[-1] != f"Chapter: {address}":
        yield f"the last line of the docstring must be 'Chapter: {address}', got {lines[-1]!r}"


def exports(tree: ast.Module) -> list[str]:
    """The names of `__all__`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


# The average over the tokens of an answer is no reduction: it stays one value per answer.
AVERAGES = {"sequence_log_probs"}


def signature(function: ast.FunctionDef) -> Iterator[str]:
    """Tensors are positional, settings keyword-only; nothing is reduced."""
    given = function.args
    if given.vararg or given.kwarg or given.posonlyargs:
        yield "takes *args, **kwargs or positional-only arguments"
    first = len(given.args) - len(given.defaults)
    for i, argument in enumerate(given.args):
        if "Tensor" not in ast.unparse(argument.annotation or ast.Constant("")):
            yield f"the setting {argument.arg} is not keyword-only"
        if i >= first and ast.unparse(given.defaults[i - first]) != "None":
            yield f"the tensor {argument.arg} has a default"
    for argument in [*given.args, *given.kwonlyargs]:
        reduces = {"reduction", "reduce", "size_average"}
        if function.name not in AVERAGES:
            reduces.add("average")
        if argument.arg in reduces:
            yield f"the parameter {argument.arg}: Criterion alone reduces"


SECTIONS = ("Args", "Returns", "Raises", "Reference", "Examples")


def docstring(function: ast.FunctionDef) -> Iterator[str]:
    """Google style: every section, every argument in order, every tensor with its shape."""
    text = ast.get_docstring(function) or ""
    head, *rest = re.split(r"^(Args|Returns|Raises|Reference|Examples):\n", text, flags=re.M)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    if wrong := list(difference("sections", sections, SECTIONS)):
        yield from wrong
        return
    if not re.match(r"[A-Z].*\.\n", head):
        yield "the first line is no sentence"
    arguments = [*function.args.args, *function.args.kwonlyargs]
    entries = dict(
        re.findall(r"^    (\w+): (.*\n(?:(?: {5}.*)?\n)*)", sections["Args"] + "\n", re.M)
    )
    yield from difference("Args", entries, [a.arg for a in arguments])
    shape = re.compile(r"`\([^`]*\)`")
    for argument in arguments:
        kind = ast.unparse(argument.annotation or ast.Constant(""))
        tensor = "Tensor" in kind and not re.search(
            "Callable|float", kind
        )  # 0-d settings have none
        if tensor and not shape.search(entries.get(argument.arg, "")):
            yield f"the tensor {argument.arg} has no shape in backticks"
    returns = ast.unparse(function.returns or ast.Constant(""))
    if "Tensor" in returns and not shape.search(sections["Returns"]):
        yield "Returns has no shape in backticks"
    if "ValueError: " not in sections["Raises"]:
        yield "Raises names no ValueError"
    if not re.search(r"\b(1[789]|20)\d\d\b", sections["Reference"]):
        yield "Reference has no year"
    if ">>> " not in sections["Examples"]:
        yield "Examples has no doctest"


SHARED = (
    "def _in_reverse_mode(",
    "class _Surprise(",
    "class _Sums(",
    "def _setting(",
    "def _scaled(",
)


def shared(texts: dict[str, str]) -> Iterator[str]:
    """Each file stands alone: what several need has one text in all."""
    for head in SHARED:
        found = {
            name: text[at:].split("\n\n\n")[0].rstrip()
            for name, text in texts.items()
            if (at := text.find(head)) >= 0
        }
        first = next(iter(found), "")
        for name, text in found.items():
            if text != found[first]:
                yield f"{name}: {head[:-1]} is not that of {first}"
    for name, text in texts.items():
        if SHARED[0] not in text and "_are_functorch_transforms_active" in text:
            yield f"{name} asks for torch.func without _in_reverse_mode"


def refusals(tree: ast.Module) -> Iterator[str]:
    """An error says what was expected and what came."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            said = ast.unparse(node.exc)
            if not re.match(r"""ValueError\((f?["'])expected .+, got .+\)$""", said, re.S):
                yield f"line {node.lineno}: raise {said}: not 'expected ..., got ...'"


def identifiers(text: str) -> set[tuple[str, str]]:
    """The arXiv and DOI numbers that docstrings name."""
    arxiv = re.findall(r"arXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})", text)
    doi = re.findall(r"doi:(10\.\S+?)[.,;)]?(?=\s|$)", text, re.I)
    return {("eprint", n) for n in arxiv} | {("doi", n) for n in doi}


def references(text: str, paper: str, bibliography: str) -> Iterator[str]:
    """What a loss file cites by number is in the bibliography, its chapter's paper among it."""
    entries = parse_string(bibliography, "bibtex").entries
    known = {
        (kind, e.fields[kind])
        for e in entries.values()
        for kind in ("eprint", "doi")
        if kind in e.fields
    }
    for kind, number in sorted(identifiers(text) - known):
        yield f"{kind} {number} is not in references.bib"
    if paper not in entries:
        yield f"the paper {paper!r} is not in references.bib"
    elif "eprint" in (fields := entries[paper].fields) and (
        ("eprint", fields["eprint"]) not in identifiers(text)
    ):
        yield f"no docstring names arXiv:{fields['eprint']}, the paper {paper}"


# Chapters ----------------------------------------------------------------------------------------


def front_matter(text: str) -> dict:
    return yaml.safe_load(split_front_matter(text)[0]) or {}


def prose(text: str) -> list[tuple[int, str]]:
    """The numbered lines outside of the front matter, of fences and of code spans."""
    lines = dict(enumerate(text.splitlines(), 1))
    for i in range(1, text.count("\n") - split_front_matter(text)[1].count("\n") + 1):
        del lines[i]
    for fence in fences(text):
        for i in range(fence.line, fence.end + 1):
            lines.pop(i, None)
    return [(i, re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", line)) for i, line in lines.items()]


def chapter(text: str) -> Iterator[str]:
    """What is wrong with the text of a chapter, whatever it is about."""
    for name, found in {"a tab": "\t", "CR": "\r", "a form feed": "\f", "U+2028": "\u2028"}.items():
        if found in text:
            yield f"line {text[: text.index(found)].count(chr(10)) + 1}: {name}"
    if "\x85" in text or "\u2029" in text or "\v" in text:
        yield "an exotic line end"
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield "the file must end with one newline"
    if "$" in str(front_matter(text).get("title", "")):
        yield "a $ in the title"
    for i, line in enumerate(text.split("\n"), 1):
        if line.startswith(":::"):
            yield f"line {i}: ::: makes Jupytext take the file for Pandoc's"
    for block in fences(text):
        yield from (f"line {block.line}: {said}" for said in fence(block))
        if block.end > len(text.splitlines()):
            yield f"line {block.line}: a fence that is not closed, or closes nothing"
    for i, line in prose(text):
        if re.match(r" *#+ ", line) and "$" in line:
            yield f"line {i}: a $ in a heading"
        if "$$" in line and line.strip() != "$$":
            yield f"line {i}: $$ must stand on a line of its own"
        if len(re.findall(r"(?<!\\)\$", line)) % 2:  # Its second line might start like a list.
            yield f"line {i}: a formula that is broken over lines"
        if re.match(r"\d+\. .*[.:;] \d+\. [a-z]", line):
            yield f"line {i}: items of a list that were wrapped into one"
    yield from names(text)
    yield from exercises(text)


def names(text: str) -> Iterator[str]:
    """Cells that use what doctests alone bind: in the notebook a doctest is text."""
    ours: set[str] = set()
    told: set[str] = set()
    for block in fences(text):
        if block.indent or block.info not in ("python", "pycon"):
            continue
        if block.info == "pycon":
            examples = doctest.DocTestParser().get_examples(block.source)
            told |= {x for example in examples for x in bound(example.source)}
            continue
        with contextlib.suppress(SyntaxError):  # Which another rule tells.
            ours |= bound(block.source)
            used = {n.id for n in ast.walk(ast.parse(block.source)) if isinstance(n, ast.Name)}
            if lacking := sorted(used & told - ours):
                yield f"line {block.line}: a cell uses {', '.join(lacking)} of a doctest"


def bound(source: str) -> set[str]:
    """Names that a piece of Python assigns, imports or defines."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(ctx=ast.Store()):
                found.add(node.id)
            case ast.FunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.alias():
                found.add((node.asname or node.name).split(".")[0])
            case ast.arg():
                found.add(node.arg)
    return found


def fence(block: Fence) -> Iterator[str]:
    language, info, code = block.kind, block.info, block.source
    if not block.indent:
        if language not in LANGUAGES:
            yield f"a fence of {language!r}: expected one of {sorted(LANGUAGES)}"
        if block.marks != "```":
            yield f"a fence of {block.marks}: expected three backticks"
        if not code.strip():
            yield "an empty fence"
    if language in ("python", "pycon") and info != language:
        yield f"a {language} fence with {info.removeprefix(language).strip()!r}"
    if language == "python" and ">>> " in code:
        yield "a prompt in a python fence"
    if language == "pycon" and not code.startswith(">>> "):
        yield "a pycon fence that does not start with a prompt"
    if re.search(r"^ *```", code, re.M):
        yield "a fence in a fence: the first is not closed"
    title = re.fullmatch(r'py title="(.+)"', info)
    included = re.fullmatch(r'--8<-- "(.+)"\n', code)
    if ("--8<--" in code or title) and not (title and included and title[1] == included[1]):
        yield "a file must be shown whole, in a py fence that has its path for a title"
    if included and not (ROOT / included[1]).is_file():
        yield f"shows {included[1]}, which is not there"
    if language == "python" and not block.indent:
        yield from length(code)


def length(code: str) -> Iterator[str]:
    """A cell is read in one look: a call may be spread out, but not much happens."""
    lines = sum(bool(line.strip()) for line in code.splitlines())
    if lines > LONGEST_CELL[1]:
        yield f"a cell of {lines} lines"
    try:
        statements = sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(code)))
    except SyntaxError:
        return  # Its run reports it.
    if statements > LONGEST_CELL[0]:
        yield f"a cell of {statements} statements"


def exercises(text: str) -> Iterator[str]:
    """A numbered heading with minutes and level, a stub, a check, a hint, a folded solution."""
    headings = list(re.finditer(r"^#{1,3} .*$", text, re.M))
    number = 0
    for here, after in zip(headings, [*headings[1:], None], strict=True):
        if not re.match(r"### Exercise\b", here[0]):
            continue
        number += 1
        where = f"line {text[: here.start()].count(chr(10)) + 1}: exercise {number}"
        section = text[here.end() : after.start() if after else len(text)]
        if not re.fullmatch(
            rf"### Exercise {number}: .+ \(\d+ minutes?, (easy|medium|hard)(, graded)?\)", here[0]
        ):
            yield f"{where}: heading {here[0]!r}"
        cells = [f.source for f in fences(section) if not f.indent and f.info == "python"]
        if len(cells) != 2:
            yield f"{where} has {len(cells)} cells: expected a stub and a check"
            continue
        if "raise NotImplementedError(" not in cells[0]:
            yield f"{where}: the stub raises no NotImplementedError"
        asserted = [n for n in ast.walk(ast.parse(cells[1])) if isinstance(n, ast.Assert)]
        if "with attempt():\n" not in cells[1] or not asserted:
            yield f"{where}: the check has no 'with attempt():' or no assertion"
        if not all(node.msg for node in asserted):
            yield f"{where}: an assertion of the check says nothing"
        folded = dict(
            re.findall(r'^\?\?\? (\w+ "\w+")\n\n((?: {4}.*\n|\n)+)', section + "\n", re.M)
        )
        if here[0].endswith(", graded)"):
            if list(folded) != ['tip "Hint"']:
                yield f"{where} is graded and folds {list(folded)}: expected a hint alone"
        elif list(folded) != ['tip "Hint"', 'success "Solution"']:
            yield f"{where} folds {list(folded)}: expected a hint, then a solution"
        elif "    ```python\n" not in folded['success "Solution"']:
            yield f"{where}: the solution has no code"


def form(text: str, answers: dict | None) -> Iterator[str]:
    """What is wrong with the form of a chapter: the answer first, the figure next, one way to draw.

    `answers` is what `tests/answers` has for it, None if there is no such file.
    """
    of_a_loss = bool(front_matter(text).get("losses"))
    parts = re.split(r"^## (.+)\n", text, flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    if next(iter(sections), None) != "In short":
        yield "the first section is not '## In short'"
    if next(fences(parts[0]), None):
        yield "code stands before '## In short'"
    if of_a_loss:
        yield from in_short(sections.get("In short", ""), front_matter(text)["losses"])
        yield from recipes(sections)
    drawn = re.compile(r"\b(plots|alt)\.\w+\(|\bpeers\.compare\(")
    for block in fences(text):
        if block.info == "python" and not block.indent:
            yield from (f"line {block.line}: {said}" for said in randomness(block.source))
            yield from (f"line {block.line}: {said}" for said in made_for_peers(block.source))
    for block in fences(text):
        if block.indent or (block.info == "python" and drawn.search(block.source)):
            if not block.indent:
                break
        elif sum(bool(row.strip()) for row in block.source.splitlines()) > LONGEST_OPEN:
            many = f"more than {LONGEST_OPEN} lines"
            yield f"line {block.line}: {many} stand open before the first figure"
    yield from answered(text, answers, of_a_loss)


def in_short(text: str, losses: list[str]) -> Iterator[str]:
    """Two displayed formulas, then the facts, then a call and a Criterion."""
    if text.count("\n$$\n") < 4:
        yield "In short has no two displayed formulas, the loss and its gradient"
    if text.count("<!-- facts -->") != 1:
        yield "In short needs one '<!-- facts -->'"
    calls = [block.source for block in fences(text) if block.info in ("py", "pycon", "python")]
    if (
        len(calls) != 1
        or "Criterion(" not in calls[0]
        or not any(f"{n}(" in calls[0] for n in losses)
    ):
        yield "In short needs one block with a call and a Criterion"
    elif text.index("$$") > text.index(calls[0]):
        yield "In short shows code before its formulas"


def recipes(sections: dict[str, str]) -> Iterator[str]:
    """Three to five folded pieces, below the figure, each a program of torch and lossbook."""
    names = list(sections)
    if "Recipes" not in names[2:3]:
        yield f"'## Recipes' is not the section after the first figure's: {names[:4]}"
        return
    text = sections["Recipes"]
    if not 3 <= text.count('\n??? example "') <= 5:
        yield f"{text.count('??? example')} recipes: expected three to five '??? example \"...\"'"
    for block in fences(text):
        info, code = block.info, block.source
        if not block.indent or info != "python":
            yield f"a fence of {info!r} that is not folded among the recipes"
            continue
        tree = ast.parse(code)
        yield from (f"a recipe: {said}" for said in imports(tree, {"torch", "lossbook"}))
        if "lossbook.book" in code:
            yield "a recipe imports the book's own helpers"


_RANDOM = re.compile(
    r"\bdefault_rng\b|\bnp\.random\.\w+|\btorch\.(?:rand\w*|normal|bernoulli|multinomial)\b"
    r"|\bmanual_seed\b|\brandom_state="
)


def randomness(code: str) -> Iterator[str]:
    """What a cell draws comes from `experiments.rng`, so that its seeds can be shifted."""
    for match in _RANDOM.finditer(code):
        yield f"{match[0]}: draw from experiments.rng(seed)"


def answered(text: str, answers: dict | None, of_a_loss: bool) -> Iterator[str]:
    """Every exercise has three wrong answers, and one is graded: its answers are all elsewhere."""
    headings = re.findall(r"^### Exercise (\d+): .*$", text, re.M)
    graded = [int(n) for n in re.findall(r"^### Exercise (\d+): .*, graded\)$", text, re.M)]
    if (of_a_loss and len(graded) != 1) or len(graded) > 1:
        yield f"{len(graded)} exercises are graded: expected one"
    if sorted(answers or {}) != [int(number) for number in headings]:
        yield f"tests/answers has exercises {sorted(answers or {})}: expected {headings}"
        return
    for number, known in (answers or {}).items():
        if len(set(known.wrong)) < 3:
            yield f"exercise {number} has {len(set(known.wrong))} wrong answers: expected three"
        if bool(known.solution and known.hidden) != (number in graded):
            yield f"exercise {number}: a solution and hidden tests are a graded exercise's alone"


def data(
    meta: dict, name: str, exported: list[str], bibliography: str, docs: Path
) -> Iterator[str]:
    """What is wrong with the front matter of the chapter `name` (family/stem).

    `exported` is the `__all__` of its own loss file or of the one that it names, empty without.
    """
    wrong = []
    for key, value in meta.items():
        if key not in TYPES:
            wrong.append(f"the key {key!r} is unknown")
        elif type(value) is not TYPES[key]:
            wrong.append(f"{key}: expected {TYPES[key].__name__}, got {value!r}")
        elif TYPES[key] is list and not all(isinstance(item, str) for item in value):
            wrong.append(f"{key}: expected strings, got {value!r}")
    required = ALWAYS if meta.get("family") == "foundations" else ALWAYS | OF_A_LOSS
    wrong += difference("keys", sorted(required & set(meta)), sorted(required))
    if wrong:
        yield from wrong
        return
    if meta["family"] != name.split("/")[0]:
        yield f"family: {meta['family']!r} is not the folder"
    if meta["jupyter"] != JUPYTER:
        yield f"jupyter: {meta['jupyter']!r}"
    if "file" in meta:
        expected = [name for name in exported if name in meta["losses"]]
        yield from difference(f"losses of {meta['file']}", sorted(meta["losses"]), sorted(expected))
    else:
        yield from difference("losses", sorted(meta["losses"]), sorted(exported))
    for other in meta["see"]:
        if not (docs / f"{other}.md").is_file():
            yield f"see: there is no chapter {other}"
        if other == name:
            yield "see: the chapter itself"
    if "paper" in meta:
        paper = parse_string(bibliography, "bibtex").entries.get(meta["paper"])
        if paper is None:
            yield f"paper: {meta['paper']!r} is not in references.bib"
        elif paper.fields["year"] != str(meta.get("year")):
            yield f"year: {meta.get('year')}, but references.bib has {paper.fields['year']}"


# Settings and addresses --------------------------------------------------------------------------


def settings(text: str) -> Iterator[str]:
    """What is wrong with mkdocs.yml: mostly, what Zensical would ignore without a word."""
    if "!!python" in text:
        yield "an object of Python"
        return
    found = yaml.load(text, Settings)
    if "hooks" in found:
        yield "hooks"
    names = {next(iter(p)) if isinstance(p, dict) else p for p in found["plugins"]}
    if names - PLUGINS:
        yield f"the plugins {sorted(names - PLUGINS)}"
    if found.get("strict") is not True:
        yield "strict is not true"
    if found["theme"].get("font") is not False:
        yield "the theme's fonts come from another host"


def addresses(text: str, site: str, repository: str) -> Iterator[str]:
    """Every address of the book is exactly the one that mkdocs.yml gives."""
    raw = repository.replace("github.com", "raw.githubusercontent.com")
    own = re.compile(
        rf"(?:{'|'.join(map(re.escape, (site.rstrip('/'), repository, raw)))})(?![\w.-])"
    )
    for match in re.finditer(
        r"https?://[^\s\"'<>()\[\]{}`,;]*lossbook[^\s\"'<>()\[\]{}`,;]*", text
    ):
        if not own.match(match[0]):
            line = text[: match.start()].count("\n") + 1
            yield f"line {line}: {match[0]} is neither below {site} nor below {repository}"


_MACHINE = re.compile(
    r"(?<![\w.~}-])/(?:home|Users|root|work|mnt)/[\w.-]|\b[A-Z]:\\\\?Users"
    r"|https?://[^/\s]*(?:registry|pypi|pythonhosted|npmjs|artifact|mirror|proxy|nexus)"
    r"|^\s*(?:registry|index-url|extra-index-url)\s*="
    r"|--(?:extra-)?index-url[ =]\S",
    re.M,
)


def tracked(name: str, text: str) -> Iterator[str]:
    """What no file of the repository may hold: a machine's paths, where its packages came from."""
    if name.endswith(".ipynb"):
        yield "a notebook is made, not kept"
    for match in _MACHINE.finditer(text):
        yield f"line {text[: match.start()].count(chr(10)) + 1}: {match[0].strip()}"
    if Path(name).name == "package-lock.json":
        for package, entry in json.loads(text)["packages"].items():
            if "resolved" in entry:
                yield f"{package} is resolved to an address"


def files() -> list[str]:
    """The tracked files; in a copy without git, all that git would not ignore."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    made = {"build", "site", "node_modules", "__pycache__"}
    found = []
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        hidden = any(p in made or p.endswith(".egg-info") for p in parts) or (
            parts[0].startswith(".") and parts[0] not in (".ci", ".github", ".gitignore", ".npmrc")
        )
        own = parts[0] == "docs" and path.suffix == ".ipynb"
        if path.is_file() and not hidden and not own:
            found.append(relative(path))
    return sorted(found)


def read(name: str) -> str:
    """The text of a file; of a font or a picture, nothing."""
    try:
        return (ROOT / name).read_bytes().decode()
    except UnicodeDecodeError:
        return ""


# The repository keeps them -----------------------------------------------------------------------

MKDOCS = yaml.load((ROOT / "mkdocs.yml").read_text(), Settings)
BIBLIOGRAPHY = (ROOT / "docs/references.bib").read_text()
LOSS_FILES = sorted(
    p for f in FAMILIES for p in ROOT.glob(f"lossbook/{f}/*.py") if p.stem != "__init__"
)
PAGES = sorted(ROOT.glob("docs/**/*.md"))
CHAPTERS = [p for p in PAGES if p.parent.name in (*FAMILIES, "foundations")]
FILES = files()


def test_the_trees_mirror_each_other():
    assert list(mirror(ROOT, OWED)) == []


@pytest.mark.parametrize("path", LOSS_FILES, ids=relative)
def test_a_loss_file(path):
    address = f"{MKDOCS['site_url']}{path.parent.name}/{path.stem}/"
    assert list(loss_file(path.read_text(), address)) == []


def test_what_loss_files_share_has_one_text():
    texts = {relative(path): path.read_text() for path in LOSS_FILES}
    assert all(sum(head in text for text in texts.values()) > 1 for head in SHARED)
    assert list(shared(texts)) == []


def made_for_peers(code: str) -> Iterator[str]:
    """A call of another library is what a reader pastes; `compare` hands it what it takes."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and "from_numpy(" in str(node.value):
            yield "from_numpy in a call: name its library in TORCH of lossbook/book/peers.py"


@pytest.mark.parametrize("path", sorted(ROOT.glob("lossbook/*.py")), ids=relative)
def test_importing_lossbook_loads_torch_and_nothing_else(path):
    assert list(imports(ast.parse(path.read_text()), {"torch", "lossbook"})) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=relative)
def test_the_data_of_a_chapter(path):
    name = f"{path.parent.name}/{path.stem}"
    meta = front_matter(path.read_text())
    own = ROOT / meta.get("file", f"lossbook/{name}.py")
    exported = exports(ast.parse(own.read_text())) if own.exists() else []
    said = list(data(meta, name, exported, BIBLIOGRAPHY, ROOT / "docs"))
    if exported and "file" not in meta:
        said += references(own.read_text(), meta.get("paper", ""), BIBLIOGRAPHY)
    assert said == []


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_the_text_of_a_chapter(path):
    assert list(chapter(path.read_bytes().decode())) == []


def answers_of(path: Path) -> dict | None:
    name = f"tests/answers/{path.parent.name}/{path.stem}.py"
    module = name.removesuffix(".py").replace("/", ".")
    return importlib.import_module(module).ANSWERS if (ROOT / name).exists() else None


@pytest.mark.parametrize(
    "path",
    [p for p in CHAPTERS if f"{p.parent.name}/{p.stem}" not in OLD_FORMAT],
    ids=relative,
)
def test_the_form_of_a_chapter(path):
    assert list(form(path.read_text(), answers_of(path))) == []


@pytest.mark.parametrize("name", sorted(OLD_FORMAT))
def test_a_chapter_in_the_format_leaves_the_list(name):
    assert "\n## In short\n" not in (ROOT / f"docs/{name}.md").read_text()


def test_answers_belong_to_a_chapter():
    known = {f"{p.parent.name}/{p.stem}" for p in CHAPTERS}
    for path in ROOT.glob("tests/answers/*/*.py"):
        if path.stem != "__init__":
            assert f"{path.parent.name}/{path.stem}" in known


def test_lossbook_exports_every_loss_and_nothing_else():
    union = [name for path in LOSS_FILES for name in exports(ast.parse(path.read_text()))]
    assert sorted(union) == sorted(set(union))
    expected = sorted([*union, "Criterion", "examine", "gathered"])
    assert list(difference("lossbook", lossbook.__all__, expected)) == []
    assert set(lossbook.__all__) <= set(dir(lossbook))
    for name in lossbook.__all__:
        assert getattr(lossbook, name).__module__ == lossbook._HOMES[name]
        assert not (ROOT / f"lossbook/{name}.py").exists(), "a module that bears a public name"
    visible = {n for n in vars(lossbook) if not n.startswith("_")} - set(lossbook.__all__)
    assert visible - {"TYPE_CHECKING"} == {
        n for n in visible if isinstance(getattr(lossbook, n), types.ModuleType)
    }
    with pytest.raises(AttributeError, match="no attribute 'typo'"):
        _ = lossbook.typo


def test_lossbook_is_typed_and_mypy_refuses_a_name_that_it_has_not(tmp_path):
    lines = ["import lossbook", "reveal_type(lossbook.huber_loss)", "lossbook.typo"]
    lines += ["from lossbook import dice_loss, nope", "reveal_type(dice_loss)"]
    (tmp_path / "use.py").write_text("\n".join(lines) + "\n")
    settings = "[mypy]\nstrict = true\n[mypy-torch.*]\nfollow_imports = skip\n"  # torch takes long.
    (tmp_path / "mypy.ini").write_text(settings)
    command = [sys.executable, "-m", "mypy", "--cache-dir", tmp_path / "cache", "use.py"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("use.py")]
    assert [re.findall(r"def \(|has no attribute .\w+", line) for line in said] == [
        *(["def ("], ['has no attribute "typo'], ['has no attribute "nope'], ["def ("]),
    ], done.stdout


WITHOUT_TORCH = """
import io, runpy, sys
sys.modules["torch"] = None
import lossbook
assert "focal_loss" in dir(lossbook) and "focal_loss" in lossbook.__all__
try:
    lossbook.focal_loss
except ImportError:
    sys.argv = ["lossbook", *sys.argv[1:]]
    runpy.run_module("lossbook", run_name="__main__")
"""


@pytest.mark.parametrize(
    "arguments", ["list", "--help", "show focal", "add focal .", "add --dry-run focal .", "diff"]
)
def test_the_command_needs_no_torch(arguments, tmp_path):
    if arguments == "diff":
        test_the_command_needs_no_torch("add focal .", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "focal" in done.stdout or arguments == "--help"


def test_mkdocs_yml():
    assert list(settings((ROOT / "mkdocs.yml").read_text())) == []


def test_other_files_name_the_same_addresses():
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    site, repository = MKDOCS["site_url"], MKDOCS["repo_url"]
    assert site.endswith("/")
    assert (urls["Homepage"], urls["Repository"]) == (site, repository)
    assert (citation["url"], citation["repository-code"]) == (site, repository)


@pytest.mark.parametrize("name", FILES)
def test_a_tracked_file(name):
    text = read(name)
    said = [*tracked(name, text), *addresses(text, MKDOCS["site_url"], MKDOCS["repo_url"])]
    assert said == []


def test_there_are_files_to_look_at():
    assert len(LOSS_FILES) >= 3
    assert len(CHAPTERS) >= 3
    assert {"mkdocs.yml", "package-lock.json", "tests/test_layout.py"} <= set(FILES)


# Planted violations ------------------------------------------------------------------------------

SITE = "https://book.example/"
ADDRESS = f"{SITE}regression/near/"
LOSS = f'''"""Near loss: how far apart two values are.

Chapter: {ADDRESS}
"""

import math

import torch
from torch import Tensor

__all__ = ["near_loss"]


def near_loss(predictions: Tensor, targets: Tensor, *, scale: float = 1.0) -> Tensor:
    """Near loss, one value per element.

    Args:
        predictions: Predicted values, shape `(*)`.
        targets: True values, shape `(*)`,
            of any dtype.
        scale: A positive number.

    Returns:
        The loss of each element, shape `(*)`.

    Raises:
        ValueError: If `scale` is not positive.

    Reference:
        Near, "On Nearness", 2020. arXiv:2001.00001

    Examples:
        >>> near_loss(torch.zeros(1), torch.ones(1))
        tensor([1.])
    """
    if not scale > 0:
        raise ValueError(f"expected scale > 0, got {{scale}}")
    return scale * abs(predictions - targets)
'''
BIB = """
@article{near2020, author = {Near, A.}, title = {On Nearness}, year = {2020}, eprint = {2001.00001}}
@article{far1999, author = {Far, B.}, title = {On Distance}, year = {1999}, doi = {10.1/far}}
"""
META = {
    "title": "Near loss",
    "description": "Near.",
    "family": "regression",
    "losses": ["near_loss"],
    "paper": "near2020",
    "year": 2020,
    "task": "regression",
    "target": "a number",
    "output": "a number",
    "robust_to": [],
    "sensitive_to": ["noise"],
    "see": ["regression/huber"],
    "jupyter": JUPYTER,
}
CHAPTER = """---
title: Near loss
---

# Near loss

It is $|r|$, for `$5`, and costs \\$5.

```python
from lossbook import huber_loss
```

```pycon
>>> 1 + 1
2
```

$$
\\ell = |r|
$$

```py title="lossbook/regression/huber.py"
--8<-- "lossbook/regression/huber.py"
```

## Exercises

### Exercise 1: one (5 minutes, easy)

```python
def one():
    raise NotImplementedError("write one()")
```

```python
with attempt():
    assert one() == 1, "it is not 1"
```

??? tip "Hint"

    It is 1.

??? success "Solution"

    ```python
    def one():
        return 1
    ```
"""
SETTINGS = "strict: true\ntheme: {font: false}\nplugins: [search, autorefs]\n"


def planted(good, change, rule, expected):
    """Apply a rule to a good text with one thing changed: it must say what is expected."""
    assert list(rule(good)) == []
    old, new = change
    assert old in good
    said = list(rule(good.replace(old, new, 1)))
    assert said
    assert any(expected in line for line in said), said


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("import math", "import numpy"), "line 6: imports numpy"),
        (("import math", "from lossbook import focal_loss"), "imports lossbook"),
        (("import math", "from . import other"), "imports ."),
        (("    if not scale", "    import scipy\n    if not scale"), "imports scipy"),
        (("Near loss: how far apart two values are.", "Near loss"), "the first line"),
        (("Chapter: ", "See: "), "the last line of the docstring"),
        (("regression/near/\n", "regression/far/\n"), "the last line of the docstring"),
        (('__all__ = ["near_loss"]', '__all__ = ["near"]'), "__all__: near_loss missing"),
        (("\n\ndef near", "\n\ndef helper():\n    pass\n\n\ndef near"), "__all__: helper missing"),
        (("def near_loss(", "class near_loss:\n  def f("), "near_loss is no function"),
        (("targets: Tensor, *,", "targets: Tensor,"), "scale is not keyword-only"),
        (("targets: Tensor, *,", "targets: Tensor = 0, *,"), "targets has a default"),
        (("scale: float = 1.0)", 'scale: float = 1.0, reduction: str = "mean")'), "alone reduces"),
        (("*, scale", "*rest, scale"), "takes *args"),
        (("    Raises:\n", "    Errors:\n"), "sections: Raises missing"),
        (
            ("    Reference:\n        Near, ", "    Note:\n        Near, "),
            "sections: Reference missing",
        ),
        (
            ("element.\n\n    Args", "element.\n\n    Helper of `far`.\n\n    Args"),
            "helper of `far`",
        ),
        (("Near loss, one value per element.", "near loss"), "no sentence"),
        (("        scale: A positive number.\n", ""), "Args: scale missing"),
        (("Predicted values, shape `(*)`.", "Predicted values."), "predictions has no shape"),
        (("element, shape `(*)`.", "element."), "Returns has no shape"),
        (("ValueError: If", "Error: If"), "Raises names no ValueError"),
        (('"On Nearness", 2020. arXiv:2001.00001', "somewhere"), "Reference has no year"),
        ((">>> near_loss", "near_loss"), "Examples has no doctest"),
        (("expected scale > 0, got", "scale must not be"), "not 'expected ..., got ...'"),
        (("raise ValueError", "raise RuntimeError"), "not 'expected ..., got ...'"),
    ],
)
def test_a_loss_file_caught(change, expected):
    planted(LOSS, change, lambda text: loss_file(text, ADDRESS), expected)


def test_what_loss_files_share_caught():
    one = "import math\n\n\ndef _in_reverse_mode():\n    return 1\n"
    assert list(shared({"a": one, "b": one + "\n\ndef f():\n    pass\n", "c": ""})) == []
    said = shared({"a": one, "b": one.replace("1", "2"), "c": "_are_functorch_transforms_active"})
    assert list(said) == [
        "b: def _in_reverse_mode is not that of a",
        "c asks for torch.func without _in_reverse_mode",
    ]


@pytest.mark.parametrize(
    ("change", "paper", "expected"),
    [
        (("2001.00001", "2001.00002"), "near2020", "eprint 2001.00002 is not in references.bib"),
        ((" arXiv:2001.00001", ""), "near2020", "no docstring names arXiv:2001.00001"),
        (("2001.00001", "2001.00001, doi:10.1/near."), "near2020", "doi 10.1/near is not in"),
        (("near_loss", "near_loss"), "near2021", "the paper 'near2021' is not in references.bib"),
    ],
)
def test_a_reference_caught(change, paper, expected):
    assert list(references(LOSS, "near2020", BIB)) == []
    assert list(references(LOSS + "doi:10.1/far.", "near2020", BIB)) == []
    said = list(references(LOSS.replace(*change), paper, BIB))
    assert any(expected in line for line in said), said


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("It is", "It\tis"), "line 7: a tab"),
        (("It is", "It\u2028is"), "U+2028"),
        (("It is", "It\fis"), "a form feed"),
        (("It is", "It\x85is"), "an exotic line end"),
        (("loss\n\nIt", "loss\r\n\nIt"), "line 5: CR"),
        (("    ```\n", "    ```"), "must end with one newline"),
        (("        return 1\n    ```\n", "        return 1\n    ```\n\n"), "one newline"),
        (("title: Near loss", "title: The $L^1$ loss"), "a $ in the title"),
        (("# Near loss", "# The $L^1$ loss"), "line 5: a $ in a heading"),
        (("## Exercises", ":::\nabc"), "Pandoc"),
        (("$$\n\\ell = |r|\n$$", "Thus $$\\ell = |r|$$."), "$$ must stand on a line of its own"),
        (("It is", "With $a\n- b$ it is"), "a formula that is broken over lines"),
        (("It is", "1. it is; 2. it is not\n\nIt is"), "items of a list that were wrapped"),
        (("```python\nfrom", "```bash\nfrom"), "line 9: a fence of 'bash'"),
        (("```python\nfrom", "```\nfrom"), "a fence of ''"),
        (("```pycon", "```py\n\n```\n\n```pycon"), "an empty fence"),
        (("```pycon\n>>> 1 + 1\n2\n```", "~~~pycon\n>>> 1 + 1\n2\n~~~"), "a fence of ~~~"),
        (
            (">>> 1 + 1\n2\n```\n", ">>> told = 2\n```\n\n```python\nprint(told)\n```\n"),
            "a cell uses told of a doctest",
        ),
        (("2\n```", "2\n``"), "the first is not closed"),
        (("    ```python\n    def one", "    def one"), "a fence that is not closed"),
        (("```python\nfrom", '```python tags=["x"]\nfrom'), "a python fence with"),
        (("```pycon", "```pycon title='x'"), "a pycon fence with"),
        (("from lossbook import huber_loss", ">>> 1"), "a prompt in a python fence"),
        (("    def one():\n", "    >>> 1\n"), "a prompt in a python fence"),
        ((">>> 1 + 1\n", ""), "does not start with a prompt"),
        (('py title="lossbook/regression/huber.py"', "py"), "shown whole"),
        (('py title="lossbook/regression/huber.py"', 'py title="huber.py"'), "shown whole"),
        (('--8<-- "', 'import math\n--8<-- "'), "shown whole"),
        (('--8<-- "', '--8 < --"'), "shown whole"),
        (("from lossbook import huber_loss\n", "x = 1\n" * 17), "a cell of 17 statements"),
        (
            ("from lossbook import huber_loss\n", "x = [\n" + "1,\n" * 27 + "]\n"),
            "a cell of 29 lines",
        ),
        (("### Exercise 1: one", "### Exercise 2: one"), "heading"),
        ((" (5 minutes, easy)", ""), "heading"),
        (("(5 minutes, easy)", "(soon, easy)"), "heading"),
        (('raise NotImplementedError("write one()")', "return 2"), "the stub raises no"),
        (("with attempt():\n", "if True:\n"), "the check has no"),
        (("assert one() == 1, ", ""), "the check has no"),
        ((', "it is not 1"', ""), "an assertion of the check says nothing"),
        (('??? tip "Hint"', "Hint"), "expected a hint"),
        (('??? success "Solution"', '??? note "Solution"'), "expected a hint, then a solution"),
        (
            ("    ```python\n    def one():\n        return 1\n    ```\n", "    Return 1.\n"),
            "no code",
        ),
        ((", easy)", ", easy, graded)"), "is graded and folds"),
        ((", easy)", ", easy, marked)"), "heading"),
    ],
)
def test_a_chapter_caught(change, expected):
    planted(CHAPTER, change, chapter, expected)


FORM = """---
title: Near loss
losses: [near_loss]
---

# Near loss

How far apart two values are.

## In short

Reach for it near. Leave it far.

$$
\\ell = |r|
$$

$$
\\frac{d\\ell}{dr} = \\mathrm{sign}(r)
$$

<!-- facts -->

```py
losses = near_loss(predictions, targets)
loss = Criterion(near_loss)(predictions, targets)
```

## A picture

```python
r = experiments.rng(0).normal(size=9)
plots.curves(r, r, x_title="r", y_title="loss", alt_text="r")
```

## Recipes

??? example "One"

    ```python
    import torch
    from lossbook import near_loss
    ```

??? example "Two"

    ```python
    near_loss
    ```

??? example "Three"

    ```python
    torch.randn(3)
    ```

## Exercises

### Exercise 1: one (5 minutes, easy)

### Exercise 2: two (5 minutes, hard, graded)
"""
THREE = Answers(wrong=("1", "2", "3"))
KNOWN = {1: THREE, 2: Answers(wrong=THREE.wrong, solution="2", hidden="assert two")}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("## In short", "## A picture\n\n## In short"), "the first section is not"),
        (("## In short", "```py\nx\n```\n\n## In short"), "code stands before"),
        (("$$\n\\frac{d\\ell}{dr} = \\mathrm{sign}(r)\n$$\n", ""), "no two displayed formulas"),
        (("<!-- facts -->", ""), "one '<!-- facts -->'"),
        (("Criterion(", "mean("), "a call and a Criterion"),
        (("```py\nlosses", "```py\nx = 1\ny = 2\nlosses"), "more than 3 lines stand open"),
        (("## A picture\n", "## A picture\n\n```pycon\n>>> 1\n1\n>>> 2\n2\n```\n"), "stand open"),
        (("experiments.rng(0)", "np.random.default_rng(0)"), "draw from experiments.rng"),
        (("experiments.rng(0)", "torch.randn(0)"), "torch.randn: draw from"),
        (("r = experiments", "split(x, random_state=0)\nr = experiments"), "random_state=: draw"),
        (("r = experiments", 'x = "piq.tv(torch.from_numpy(x))"\nr = experiments'), "in TORCH of"),
        (("## Recipes", "## Derivation\n\n## Recipes"), "'## Recipes' is not the section after"),
        (('??? example "One"', '!!! example "One"'), "2 recipes: expected three to five"),
        (("    import torch\n", "    import numpy\n"), "a recipe: line 1: imports numpy"),
        (("from lossbook import near_loss\n", "from lossbook.book import plots\n"), "own helpers"),
        ((", graded)", ")"), "0 exercises are graded"),
        (("(5 minutes, easy)", "(5 minutes, easy, graded)"), "2 exercises are graded"),
        (("### Exercise 1", "### Task 1"), "tests/answers has exercises [1, 2]: expected ['2']"),
    ],
)
def test_the_form_of_a_chapter_caught(change, expected):
    planted(FORM, change, lambda text: form(text, KNOWN), expected)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (None, "tests/answers has exercises []"),
        ({**KNOWN, 1: Answers(wrong=("1", "2", "2"))}, "exercise 1 has 2 wrong answers"),
        ({**KNOWN, 1: KNOWN[2]}, "exercise 1: a solution and hidden tests"),
        ({**KNOWN, 2: THREE}, "exercise 2: a solution and hidden tests"),
    ],
)
def test_answers_caught(answers, expected):
    assert list(form(FORM, KNOWN)) == []
    assert any(expected in line for line in form(FORM, answers))


def test_a_shown_file_must_exist():
    text = CHAPTER.replace("huber.py", "nowhere.py")
    assert list(chapter(text)) == [
        "line 22: shows lossbook/regression/nowhere.py, which is not there"
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tags": []}, "the key 'tags' is unknown"),
        ({"title": 3}, "title: expected str"),
        ({"year": "2020"}, "year: expected int"),
        ({"year": True}, "year: expected int"),
        ({"robust_to": "noise"}, "robust_to: expected list"),
        ({"see": [1]}, "see: expected strings"),
        ({"jupyter": None}, "jupyter: expected dict"),
        ({"task": ...}, "keys: task missing"),
        ({"family": "ranking"}, "family: 'ranking' is not the folder"),
        ({"jupyter": {"jupytext": {"formats": "md"}}}, "jupyter: "),
        ({"losses": []}, "losses: near_loss missing"),
        ({"losses": ["near_loss", "far_loss"]}, "losses: far_loss too many"),
        ({"see": ["regression/nowhere"]}, "there is no chapter regression/nowhere"),
        ({"see": ["regression/near"]}, "see: "),
        ({"paper": "far2000"}, "paper: 'far2000' is not in references.bib"),
        ({"year": 2021}, "year: 2021, but references.bib has 2020"),
    ],
)
def test_the_data_of_a_chapter_caught(change, expected):
    docs = ROOT / "docs"
    assert list(data(META, "regression/near", ["near_loss"], BIB, docs)) == []
    meta = {key: value for key, value in {**META, **change}.items() if value is not ...}
    said = list(data(meta, "regression/near", ["near_loss"], BIB, docs))
    assert any(expected in line for line in said), said


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("docs/regression/near.md", "docs/regression/far.md", "near.py has no chapter"),
        ("docs/regression/near.md", "docs/regression/far.md", "far.md has no lossbook"),
        ("docs/regression/near.md", "docs/ranking/near.md", "near.py has no chapter"),
        ("tests/regression/test_near.py", "tests/regression/near.py", "near.py has no test"),
        (
            "tests/regression/test_near.py",
            "tests/regression/test_far.py",
            "the test of regression/far",
        ),
        ("lossbook/regression/near.py", "lossbook/regression/utils.py", "named for nothing"),
        ("lossbook/book/run.py", "lossbook/helpers/run.py", "lossbook/helpers is no family"),
    ],
)
def test_the_trees_caught(old, new, expected, tmp_path):
    def grow(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("")

    grow("lossbook/regression/near.py", "lossbook/regression/__init__.py", "lossbook/book/run.py")
    grow("docs/regression/near.md", "tests/regression/test_near.py", "docs/foundations/outliers.md")
    assert list(mirror(tmp_path)) == []
    grow(new)
    (tmp_path / old).unlink()
    assert any(expected in line for line in mirror(tmp_path))


def test_a_chapter_without_a_file_names_one(tmp_path):
    path = tmp_path / "docs/segmentation/pixels.md"
    path.parent.mkdir(parents=True)
    (tmp_path / "lossbook").mkdir()
    path.write_text("---\nfile: lossbook/regression/near.py\n---\n")
    assert list(mirror(tmp_path)) == [
        "docs/segmentation/pixels.md names lossbook/regression/near.py, which is not there"
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("plugins", "hooks: [a.py]\nplugins"), "hooks"),
        (("autorefs", "gen-files"), "the plugins ['gen-files']"),
        (("autorefs", "macros: {}"), "the plugins ['macros']"),
        (("strict: true", "strict: !ENV [STRICT, false]"), "strict is not true"),
        (("strict: true\n", ""), "strict is not true"),
        (("font: false", "font: {text: Inter}"), "the theme's fonts"),
        (("autorefs]", "autorefs]\nx: !!python/name:os.getcwd"), "an object of Python"),
    ],
)
def test_settings_caught(change, expected):
    planted(SETTINGS, change, settings, expected)


# A bar keeps a planted text out of this file, which is under the same rules; it is taken out.
@pytest.mark.parametrize(
    "text",
    [
        "https:|//lossbook.example.org/",
        "http:|//book.example/lossbook",
        "https:|//github.com/someone/lossbook",
        "see (https:|//code.example/me/lossbook-2/issues).",
    ],
)
def test_an_address_caught(text):
    repository = "https:|//code.example/me/lossbook".replace("|", "")
    good = f"{SITE}lossbook/a and <{repository}>, code.example, {repository}/issues "
    assert list(addresses(good, SITE, repository)) == []
    assert len(list(addresses(good + text.replace("|", ""), SITE, repository))) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("docs/a.ipynb", ""),
        ("a.md", "see /ho|me/ann/book"),
        ("a.py", 'open("/wo|rk/data")'),
        ("a.toml", "x = 'C:\\Us|ers\\ann'"),
        ("a.txt", "https:|//pypi.example/simple"),
        (".npmrc", "regis|try=https://npm.example"),
        ("a.yml", "pip install --index|-url https://x.example"),
        ("package-lock.json", '{"packages": {"a": {"resolved": "b"}}}'),
    ],
)
def test_a_tracked_file_caught(name, text):
    assert list(tracked(name.replace(".ipynb", ".md"), '{"packages": {"a": {}}}')) == []
    assert len(list(tracked(name, text.replace("|", "")))) == 1


def test_files_are_found_without_git(monkeypatch, tmp_path):
    with_git = set(FILES)
    monkeypatch.setenv("GIT_DIR", str(tmp_path))  # Here git finds no repository.
    without = set(files())
    assert {"mkdocs.yml", ".npmrc", ".github/workflows/tests.yml", "docs/index.md"} <= without
    assert with_git <= without
    assert not any(
        name.startswith(("build/", "site/", ".venv/", "node_modules/")) for name in without
    )
