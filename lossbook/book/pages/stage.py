"""Writes the site's sources: plain Markdown with outputs, drawn figures and set mathematics."""

import inspect
import json
import re
from collections.abc import Callable, Sequence
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

import lossbook
from lossbook.book.pages import (
    card,
    cite,
    elsewhere,
    errata,
    facts,
    gallery,
    notebook,
    plain,
    speed,
    tex,
)
from lossbook.book.peers import PEERS
from lossbook.book.runs import charts, formula, seeds
from lossbook.book.runs.chapters import (
    BUILD,
    DOCS,
    ROOT,
    Chapter,
    ChapterError,
    executed,
    families,
    include,
    load,
    outside_fences,
    relative,
    settings,
)
from lossbook.book.runs.run import Result, Run, cached, run_all

STAGED = BUILD / "docs"
ERRATA = DOCS / "errata" / "errata.yaml"
# Comments are for authors; these alone stand for something on the page, or, on lines of their own,
# for its slides.
_SLIDES = r"(?P<slides>^<!-- (?:slide|note: (?:(?!-->).)*) -->$)"
_COMMENT = re.compile(
    _SLIDES + r"|<!--(?! (?:facts|card|gallery|seeds|losses: \S+) -->).*?-->", re.S | re.M
)
# What search puts first: a page that answers, then the chapters (4), then the rest (1).
_BOOST = {"symptoms": 8, "classification/cross_entropy": 8, "choose": 2}
# A formula of a gradient, by how it begins.
_SLOPE = re.compile(r"(\s|\\begin\{\w+\})*\\(nabla|d?frac\{(d|\\partial)\b)")
_VALUE = re.compile(r"[-\d.e]+|None|True|False")
# What a cell shows first, its code folded below.
_SHOWN_FIRST = ("chart", PEERS, "image/png", "image/svg+xml")


def stage(
    *,
    only: Sequence[Path] | None = None,
    watch_tree: bool = True,
    wait: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> list[ChapterError]:
    """Run the chapters and write `build/docs`, `build/mkdocs.yml` and `build/zensical.yml`.

    A chapter that fails is staged too, with its error on its page.

    Args:
        only: The chapters to run; the others keep their staged page.
        watch_tree: Whether a chapter that changes the repository's files fails.
        wait: Run what has no stored run; else its page says that it is running.
        report: Called with a line of progress as each chapter ends.

    Returns:
        Everything that is wrong, with file and line.
    """
    chapters, errors = load()
    chosen = [c for c in chapters if only is None or c.path in only]
    if wait:
        runs = run_all(chosen, watch_tree=watch_tree, report=report)
    else:
        runs = [cached(chapter) or _running(chapter) for chapter in chosen]
    written = set()
    tex.typeset([found for chapter in chosen for found in tex.formulas(chapter.body)])
    for chapter in chosen:
        errors += _typeset(chapter)
    for chapter, run in zip(chosen, runs, strict=True):
        wrong = run.errors(chapter)
        try:
            files = _page(chapter, run, chapters)
        except Exception as error:
            at = error if isinstance(error, ChapterError) else _unforeseen(chapter.path, error)
            wrong.append(at)
            files = {f"{chapter.name}.md": _failed(chapter.title, wrong)}
        errors += wrong
        written |= {_write(name, content) for name, content in files.items()}
    for unread in errors:
        if unread.path.suffix == ".md" and unread.path not in {c.path for c in chapters}:
            name = unread.path.relative_to(DOCS).as_posix()
            written.add(_write(name, _failed(unread.path.stem, [unread])))
    if only is None:
        pages = _generated(chapters, wait or all(run.cached for run in runs))
        try:
            pages["errata.md"] = _errata(chapters)
        except Exception as error:
            errors.append(_unforeseen(ERRATA, error))
            pages["errata.md"] = _failed("Errata", errors[-1:])
        try:
            pages["elsewhere.md"] = elsewhere.page(chapters, runs)
        except ChapterError as error:
            errors.append(error)
            pages["elsewhere.md"] = _failed("Elsewhere", errors[-1:])
        last = "---\nsearch:\n  boost: 0.1\n---\n"  # After the chapters, which say it better.
        made: dict[str, str | bytes] = {name: f"{last}{text}" for name, text in pages.items()}
        made |= {**_assets(), "../beside/llms.txt": _index(chapters)}
        written |= {_write(name, content) for name, content in made.items()}
        for folder in (STAGED, STAGED / "../beside"):
            for path in folder.rglob("*"):
                if path.is_file() and path not in written:
                    path.unlink()
        _configure(chapters, pages)
    return errors


def _running(chapter: Chapter) -> Run:
    """What a page shows while its chapter runs."""
    said = [{"text/plain": "running"}]
    results = [Result(b.kind, b.line, b.source, list(said), None) for b in chapter.blocks]
    return Run(chapter.name, results, 0.0, {})


def _write(name: str, content: str | bytes) -> Path:
    """Write a staged file, only if it changes: the server watches."""
    path = STAGED / name
    data = content.encode() if isinstance(content, str) else content
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.part")
        partial.write_bytes(data)
        partial.replace(path)
    return path


def _typeset(chapter: Chapter) -> list[ChapterError]:
    """Typeset a chapter's formulas; report those that KaTeX refuses."""
    errors = []
    for refused, message in tex.typeset(tex.formulas(chapter.body)).items():
        line = chapter.text[: chapter.text.index(refused)].count("\n") + 1
        errors.append(ChapterError(chapter.path, line, f"{message} in {refused.strip()!r}"))
    return errors


def _unforeseen(path: Path, error: Exception) -> ChapterError:
    return ChapterError(path, 1, f"{type(error).__name__}: {error}")


def _failed(title: str, errors: Sequence[ChapterError]) -> str:
    return f"# {title}\n\n" + "".join(_error(str(error)) for error in errors)


def _error(text: str) -> str:
    return f'<div class="output error" role="alert"><pre>{escape(text)}</pre></div>\n\n'


def _page(chapter: Chapter, run: Run, chapters: Sequence[Chapter]) -> dict[str, str | bytes]:
    """Make the files of one chapter: its page, its charts and its notebook."""
    files: dict[str, str | bytes] = {}
    text, keys = cite.cite(uncommented(chapter.body), chapter.path, chapter.body_line)
    text = include(text, chapter.path, chapter.body_line)
    text = re.sub(r"<!-- losses: (\S+) -->", lambda m: _losses(m[1], chapter, chapters), text)
    if "<!-- gallery -->" in text:
        text = text.replace("<!-- gallery -->", _gallery(chapters))
    text = tex.render(_mark(text, run.results))
    for i, result in enumerate(run.results):
        html = "".join(_output(output, chapter, files) for output in result.outputs)
        if result.error:
            html += _error(
                f"{relative(chapter.path)}:{result.error_line or result.line}: {result.error}"
            )
        text = text.replace(f"<!--output {i}-->\n", html)
    text = text.replace("<!-- card -->", f"{card.card(chapter.losses)}\n<!-- seeds -->")
    text = text.replace("<!-- facts -->", facts.table(chapter.losses, chapter.meta))
    text = text.replace("<!-- seeds -->", seeds.said(chapter))
    if chapter.blocks:
        published = notebook.publish(chapter, run, settings())
        files[f"{chapter.name}.ipynb"] = published
        if "/" in chapter.name:  # In the deck's place until the site is built.
            files[f"{chapter.name}/slides.html"] = (
                "The slides are made by <code>make site</code>.\n"
            )
        folder = _folder(chapter)  # `beside/` is copied into the built site.
        address = settings()["site_url"] + folder
        files[f"../beside/{folder}index.md"] = plain.text(published, chapter, address)
        links = "" if chapter.name == "index" else _links(chapter)
        text = re.sub(r"^(# .*\n)", lambda m: f"{m[1]}\n{links}\n", text, count=1, flags=re.M)
    meta: dict[str, Any] = {"title": chapter.title}
    if chapter.name in _BOOST or chapter.meta.get("family"):
        meta["search"] = {"boost": _BOOST.get(chapter.name, 4)}
        meta["tags"] = chapter.meta.get("aliases", [])  # What search weighs as a title,
        meta["hide"] = ["tags"]  # and a page prints among its facts.
    if "description" in chapter.meta:
        meta["description"] = chapter.meta["description"]
    head = f"---\n{yaml.safe_dump(meta, allow_unicode=True)}---\n"
    box = cite.box(chapter) if chapter.meta.get("paper") else ""
    files[f"{chapter.name}.md"] = head + text + cite.references(keys) + box
    return files


def _gallery(chapters: Sequence[Chapter]) -> str:
    """Draw every loss with a picture from its chapter's stored run, by family."""
    runs = {c.name: run for c in chapters if (run := cached(c))}
    written = {chapter.file for chapter in chapters}
    owed = [
        Chapter(DOCS / f"{file[9:-3]}.md", "", {"title": _about(file)[0], "losses": names})
        for file, names in _files().items()
        if file not in written
    ]
    inside = {f: [c for c in ordered([*chapters, *owed], f"{f}/") if c.losses] for f in families()}
    return "\n".join(gallery.section(f.capitalize(), found, runs) for f, found in inside.items())


def _folder(chapter: Chapter) -> str:
    """Where a chapter's page is on the site."""
    return "" if chapter.name == "index" else f"{chapter.name}/"


def _index(chapters: Sequence[Chapter]) -> str:
    """List the chapters that have blocks, by folder, for machines that read."""
    read = [chapter for chapter in chapters if chapter.blocks]
    folders = dict.fromkeys(["", "foundations", *families()])
    inside = {f: [c for c in ordered(read, f) if c.name.rpartition("/")[0] == f] for f in folders}
    titled = {folder.capitalize() or "Start": found for folder, found in inside.items() if found}
    return plain.index(titled, settings())


def _losses(folder: str, page: Chapter, chapters: Sequence[Chapter]) -> str:
    """Draw the table of a family's losses from its chapters, and from the files without one."""
    up = "../" * page.name.count("/")
    lines = [
        "| loss | for | target | the last layer gives | sensitive to |",
        "|---|---|---|---|---|",
    ]
    for chapter in sorted(chapters, key=lambda c: (c.meta.get("year", 0), c.title)):
        if chapter.name.startswith(f"{folder}/"):
            meta = chapter.meta
            cells = [
                f"[{chapter.title}]({up}{chapter.name}.md)",
                *(str(meta.get(key, "")) for key in ("task", "target", "output")),
                ", ".join(meta.get("sensitive_to", [])),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    for file in sorted(_files().keys() - {chapter.file for chapter in chapters}):
        _, family, stem = file.removesuffix(".py").split("/")
        if family == folder:
            title, summary = _about(file)
            lines.append(f"| [{title}]({up}{family}/{stem}.md) | {summary} | | | |")
    return "\n".join(lines)


def _files() -> dict[str, list[str]]:
    """The public names of each loss file, in the order of the navigation."""
    order = families()
    files: dict[str, list[str]] = {}
    for name, module in sorted(lossbook._HOMES.items()):
        if module.count(".") == 2:
            files.setdefault(module.replace(".", "/") + ".py", []).append(name)
    return dict(sorted(files.items(), key=lambda f: (order.index(f[0].split("/")[1]), f[0])))


def _about(file: str) -> tuple[str, str]:
    """Title and summary of a loss file, from its name and its first line."""
    first = (ROOT / file).read_text().split("\n", 1)[0].strip('"')
    title, _, summary = first.rpartition(": ")
    stem = file.rpartition("/")[2].removesuffix(".py").replace("_", " ")
    return title or stem.capitalize(), summary


def uncommented(text: str) -> str:
    """Remove the comments that mean nothing to a reader; every line keeps its number."""
    return outside_fences(
        text, lambda prose: _COMMENT.sub(lambda c: c["slides"] or "\n" * c[0].count("\n"), prose)
    )


def _mark(text: str, results: Sequence[Result]) -> str:
    """Put a marker behind each executed block, which its outputs will replace.

    A cell that draws or compares is folded, and its marker stands before it.
    """
    lines = text.splitlines(keepends=True)
    for i, fence in reversed(list(enumerate(executed(text)))):
        block, marker = lines[fence.line - 1 : fence.end], f"<!--output {i}-->\n"
        if shown_first(results[i]):
            folded = [f"    {line}" if line.strip() else line for line in block]
            lines[fence.line - 1 : fence.end] = [f'{marker}\n??? code "Code"\n\n', *folded]
        else:
            lines[fence.line - 1 : fence.end] = [*block, f"\n{marker}"]
    return "".join(lines)


def shown_first(result: Result) -> bool:
    """Whether a cell is there for what it shows: a figure, or a comparison with other libraries."""
    shown = any(kind in o for o in result.outputs for kind in _SHOWN_FIRST)
    return not result.error and (shown or any(map(_pictures, result.outputs)))


def _pictures(data: dict[str, Any]) -> bool:
    return str(data.get("text/html", "")).startswith("<figure")


def _output(data: dict[str, Any], chapter: Chapter, files: dict[str, str | bytes]) -> str:
    """Write one output as HTML at the start of a line, which Markdown leaves alone."""
    if "chart" in data:
        chart = data["chart"]
        if chart["vega"]:
            spec = json.dumps(chart["vega"], separators=(",", ":"))
            script = f'lossbook.chart("{chart["name"]}",{spec});\n'
            files[f"assets/charts/{chart['name']}.js"] = script
        return charts.figure(chart, chart["title"])
    if "image/png" in data:
        alt = str(data.get("text/plain", "")).strip("'")
        if not alt or alt.startswith("<"):
            raise ChapterError(chapter.path, 1, "a PNG output needs its alt text as text/plain")
        import base64

        png = base64.b64decode(data["image/png"])
        name = f"{chapter.name.replace('/', '-')}-{len(files)}.png"
        files[f"assets/figures/{name}"] = png
        up = "../" * (chapter.name.count("/") + 1)
        return f'<figure><img src="{up}assets/figures/{name}" alt="{escape(alt)}"></figure>\n\n'
    if "image/svg+xml" in data:
        return f'<figure class="chart" data-search-exclude>{data["image/svg+xml"]}</figure>\n\n'
    if _pictures(data):
        return f"{data['text/html']}\n\n"
    if "text/html" in data:
        return f'<div class="output table">{data["text/html"]}</div>\n\n'
    text = str(data.get("text/plain", "")).rstrip("\n")
    return f'<div class="output"><pre>{escape(text)}</pre></div>\n\n' if text else ""


def _links(chapter: Chapter) -> str:
    """The line below a chapter's title: what to take away."""
    stem = chapter.path.stem
    repository = settings()["repo_url"].removeprefix("https://github.com/")
    notebooks = f"https://colab.research.google.com/github/{repository}/blob/notebooks"
    links = [
        f'[Notebook]({stem}.ipynb){{ download="{stem}.ipynb" }}',
        f"[Open in Colab]({notebooks}/{chapter.name}.ipynb)",
        f"[Edit]({settings()['repo_url']}/edit/main/docs/{chapter.name}.md)",
    ]
    if "/" in chapter.name:
        links.insert(0, f"[Slides]({stem}/slides.html)")
    if chapter.losses and chapter.file:
        up, family = "../" * chapter.name.count("/"), chapter.file.split("/")[1]
        links = ["[The file](#the-file)", f"[API]({up}api/{family}.md)", *links]
    return '<div class="chapter-links" markdown>\n' + " ".join(links) + "\n</div>\n"


def _generated(chapters: Sequence[Chapter], drawn: bool) -> dict[str, str]:
    """The pages that nobody writes: the API by family, and what tests, runs and data say.

    The page of the benchmark, whose many charts take seconds, waits if it may not be `drawn`.
    """
    files = _files()
    pages = {
        "api/lossbook.md": "# Criterion, examine, gathered\n\n::: lossbook.criterion.Criterion"
        "\n\n::: lossbook.examination.examine\n\n::: lossbook.gathering.gathered\n",
        "vetting.md": card.matrix(
            {n: f[9:-3] for f, names in files.items() for n in names if n in card.losses()}
        ),
        "speed.md": speed.page({n: f for f, names in files.items() for n in names})
        if drawn
        else "# Speed\n\nrunning\n",
    }
    written = {chapter.file for chapter in chapters}
    for file, names in sorted(files.items()):
        _, family, stem = file.removesuffix(".py").split("/")
        page = pages.setdefault(f"api/{family}.md", f"# {family.capitalize()}\n\n")
        module = file.removesuffix(".py").replace("/", ".")
        pages[f"api/{family}.md"] = page + "".join(
            _symbol(f"{module}.{name}", [c for c in chapters if name in c.own]) for name in names
        )
        if file not in written:
            pages[f"{family}/{stem}.md"] = _vetting_page(file, names)
    api = [name for name in pages if name.startswith("api/")]
    tex.typeset([found for name in api for found in tex.formulas(pages[name])])
    return pages | {name: tex.render(pages[name]) for name in api}


def _symbol(path: str, chapters: Sequence[Chapter]) -> str:
    """Describe a public name on its API page, below the way to its chapter and its source."""
    links = [
        link
        for chapter in (c.name for c in chapters)
        for link in (f"[Chapter](../{chapter}.md)", f"[The file](../{chapter}.md#the-file)")
    ]
    name = path.rpartition(".")[2]
    formulas = "".join(
        "".join(f"$${display}$$\n\n" for _, display in text.displays if not _SLOPE.match(display))
        + f"{_symbols(text)}\n\n"
        for chapter in chapters
        for text in formula.texts(chapter)
        if text.loss == name
    )
    given = inspect.signature(getattr(lossbook, name)).parameters.values()
    call = inspect.Signature([p.replace(annotation=p.empty) for p in given])
    return (
        f"## {name.replace('_', '_<wbr>')} {{ #{path} }}\n\n"
        f'<div class="chapter-links" markdown>\n{" ".join(links)}\n</div>\n\n'
        f"{formulas}```py\n{name}{call}\n```\n\n"
        f"::: {path}\n    options: {{show_root_heading: false, show_root_toc_entry: false}}\n\n"
    )


def _symbols(text: formula.Text) -> str:
    """Say which argument each symbol of a formula is, and the settings that it holds for."""
    said, bound = [], {argument for _, argument in text.bindings}
    for symbol, argument in text.bindings:
        given, _, otherwise = argument.partition(" or ")
        number = f"the number of ${given[1:]}$" if given.startswith("#") else f"`{given}`"
        said.append(f"${symbol}$ = {number}" + (f" or {otherwise}" if otherwise else ""))
    only = []
    for name, _, value in (option.partition("=") for option in text.options if "=" in option):
        if name not in bound:
            only.append(f"`{name}={value if _VALUE.fullmatch(value) else repr(value)}`")
    only += text.only
    if any("\\operatorname{sg}" in display for _, display in text.displays):
        said.append("$\\operatorname{sg}$ a constant for the gradient")
    return f"With {', '.join(said)}" + (f"; for {', '.join(only)}." if only else ".")


def _vetting_page(file: str, losses: Sequence[str]) -> str:
    """The page of a loss whose chapter is not written yet: the call, the file, the card."""
    source = (ROOT / file).read_text()
    title, summary = _about(file)
    text = f"# {title}\n\n{summary[0].upper()}{summary[1:]}\n\n"
    for name in losses:
        lines = inspect.cleandoc(getattr(lossbook, name).__doc__).split("\n")
        example = "\n".join(lines[lines.index("Examples:") + 1 :])
        text += f"**`{name}`**\n:   {lines[0]}\n\n```pycon\n>>> from lossbook import {name}\n"
        text += inspect.cleandoc(example) + "\n```\n\n"
    family = file.split("/")[1]
    return text + (
        f"Its chapter is not written yet; the [API page](../api/{family}.md) has shapes, domains "
        f'and the paper.\n\n## The file\n\n```py title="{file}"\n{source}```\n\n'
        f"## Vetting card\n\n{card.card([n for n in losses if n in card.losses()])}"
    )


def _errata(chapters: Sequence[Chapter]) -> str:
    """The page of wrong snippets, each run beside the right one."""
    links = {loss: f"{chapter.name}.md" for chapter in chapters for loss in chapter.own}
    return errata.page(errata.load(ERRATA), links)


def _assets() -> dict[str, bytes]:
    """What the pages load: the book's own style and script, KaTeX's fonts, Vega, text fonts."""
    modules = ROOT / "node_modules"
    if not modules.is_dir():
        raise SystemExit("node_modules is missing: run `make node_modules`")
    katex, inter = modules / "katex/dist", modules / "@fontsource-variable/inter/files"
    mono = modules / "@fontsource/jetbrains-mono/files"
    found = {p.relative_to(DOCS).as_posix(): p for p in DOCS.glob("assets/*")}
    found |= {f"assets/katex/fonts/{p.name}": p for p in katex.glob("fonts/*.woff2")}
    found |= {
        "assets/katex/katex.min.css": katex / "katex.min.css",
        "assets/iframe-worker.js": modules / "iframe-worker/shim/index.js",
        "assets/vega.min.js": modules / "vega/build/vega.min.js",
        "assets/fonts/inter.woff2": inter / "inter-latin-wght-normal.woff2",
        "assets/fonts/jetbrains-mono.woff2": mono / "jetbrains-mono-latin-400-normal.woff2",
    }
    return {name: path.read_bytes() for name, path in found.items()} | {"assets/dark.css": _dark()}


def _dark() -> bytes:
    """The dark scheme of the theme and of the book for who runs no script.

    With scripts the theme's own chooses the scheme.
    """
    theme = metadata.distribution("mkdocs-material").locate_file("material/templates/assets")
    styles = [*Path(str(theme)).glob("stylesheets/palette.*.css"), DOCS / "assets/book.css"]
    slate = re.compile(
        r'\[data-md-color-scheme="?slate"?\](?:\[data-md-color-primary\])?\s*\{(.*?)\}', re.S
    )
    rules = ";\n".join(rule for path in styles for rule in slate.findall(path.read_text()))
    where = "@media screen and (scripting: none) and (prefers-color-scheme: dark)"
    return (
        f"{where} {{\n[data-md-color-scheme][data-md-color-primary] {{\n{rules}\n}}\n}}\n".encode()
    )


def navigation(
    entries: Sequence[dict[str, Any]], chapters: Sequence[Chapter], pages: Sequence[str]
) -> list[dict[str, Any]]:
    """Draw out the folders of a `nav` to their pages: chapters by year, then by title."""
    known = {f"{c.name}.md" for c in chapters}
    nav: list[dict[str, Any]] = []
    for entry in entries:
        ((title, target),) = entry.items()
        items: Any = target
        if isinstance(target, list):
            items = navigation(target, chapters, pages)
        elif target.endswith("/"):
            inside = [{c.title: f"{c.name}.md"} for c in ordered(chapters, target)]
            items = inside + sorted(p for p in pages if p.startswith(target) and p not in known)
        if items:
            nav.append({title: items})
    return nav


def ordered(chapters: Sequence[Chapter], folder: str) -> list[Chapter]:
    """The chapters of a folder, in the order of the navigation."""
    inside = [c for c in chapters if c.name.startswith(folder)]
    return sorted(inside, key=lambda c: (c.meta.get("order", 0), c.meta.get("year", 0), c.title))


def _configure(chapters: Sequence[Chapter], pages: dict[str, str]) -> None:
    """Write the configurations of the generators: `mkdocs.yml` with the nav drawn out."""
    nav = navigation(settings()["nav"], chapters, list(pages))
    config = {**settings(), "nav": nav, "docs_dir": "docs"}
    config["watch"] = ["../lossbook"]
    # With a repository, the theme's script asks another host for its stars.
    repository = config.pop("repo_url")
    config["extra"] = {
        **config["extra"],
        "social": [{"icon": "material/source-repository", "link": repository, "name": "Source"}],
    }
    for plugin in config["plugins"]:
        if isinstance(plugin, dict) and "mkdocstrings" in plugin:
            plugin["mkdocstrings"]["handlers"]["python"]["paths"] = [".."]
    serverless = {**config, "plugins": [*config["plugins"], "offline"]}
    # What a page says to fetch early, browsers refuse to fetch from a file.
    served = {**config, "theme": {**config["theme"], "custom_dir": str(DOCS / "theme")}}
    for name, site, own in (
        ("mkdocs", "../site", served),
        ("zensical", "zensical", served),
        ("offline", "offline", serverless),
    ):
        path = BUILD / f"{name}.yml"
        text = yaml.safe_dump({**own, "site_dir": site}, sort_keys=False, allow_unicode=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
