"""Starts a loss: file, test, mutants, chapter, answers and export, from the templates."""

import ast
import re

from lossbook.book.runs.chapters import ROOT, families, settings

FILES = {
    "loss.py.in": "lossbook/{family}/{stem}.py",
    "test.py.in": "tests/{family}/test_{stem}.py",
    "chapter.md.in": "docs/{family}/{stem}.md",
    "mutants.py.in": "tests/mutants/{stem}.py",
    "answers.py.in": "tests/answers/{family}/{stem}.py",
}


def add(name: str) -> list[str]:
    """Start the loss `family/stem`, and return the files written.

    The layout test names what is left to fill in.

    Raises:
        ValueError: If the family is not in the navigation, the stem is no name or a file is there.
    """
    family, _, stem = name.partition("/")
    if family not in families():
        raise ValueError(f"expected a family of {', '.join(families())}, got {family!r}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", stem):
        raise ValueError(f"expected a stem of lower-case letters, digits and _, got {stem!r}")
    files = {made: path.format(family=family, stem=stem) for made, path in FILES.items()}
    if taken := [path for path in files.values() if (ROOT / path).exists()]:
        raise ValueError(f"expected a new loss, got {', '.join(taken)}")
    words = {
        "SITE": settings()["site_url"],
        "FAMILY": family,
        "STEM": stem,
        "TITLE": stem.replace("_", " ").capitalize(),
    }
    for made, path in files.items():
        text = (ROOT / "tests/templates" / made).read_text()
        text = re.sub("|".join(words), lambda match: words[match[0]], text)
        (ROOT / path).parent.mkdir(exist_ok=True)
        for package in ("lossbook", "tests", "tests/answers"):
            init = ROOT / package / family / "__init__.py"
            if path.startswith(f"{package}/{family}") and not init.exists():
                init.write_text(f'"""{family.capitalize()}."""\n' if package == "lossbook" else "")
        (ROOT / path).write_text(text)
    return [*files.values(), export(f"lossbook.{family}.{stem}", f"{stem}_loss")]


def export(module: str, name: str) -> str:
    """Put a name into the list of `lossbook/__init__.py`, in its order; return the file."""
    path = ROOT / "lossbook/__init__.py"
    lines = path.read_text().splitlines(keepends=True)
    nodes = ast.walk(ast.parse("".join(lines)))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    exports = [node for node in imports if str(node.module).startswith("lossbook.")]
    after = [n for n in exports if (str(n.module), n.names[0].name) > (module, name)]
    at = min(n.lineno - 1 for n in after) if after else max(int(n.end_lineno or 0) for n in exports)
    lines.insert(at, f"    from {module} import {name} as {name}\n")
    path.write_text("".join(lines))
    return "lossbook/__init__.py"
