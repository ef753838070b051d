"""Runs chapters: each once, in a fresh kernel and a folder of its own.

A run is kept with all that it needed, and counts until one of these changes: the chapter, the
files of this repository that its kernel loaded, the public names that it asked for, the runner,
the installed versions.
"""

import asyncio
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock

from lossbook import __version__, _homes
from lossbook.book.runs.chapters import BUILD, ROOT, Chapter, ChapterError, Fence, relative
from lossbook.book.runs.charts import draw
from lossbook.book.runs.kernel import CHART, DOCTEST, NEEDS

START_SECONDS = CELL_SECONDS = 120
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# What makes outputs of a run, besides the modules that the kernel loads.
RUNNER = [
    f"lossbook/book/{name}.py"
    for name in ("plots", "runs/chapters", "runs/charts", "runs/forks", "runs/run")
]
# One thread, one order of what has none, and the same instructions on every x86 processor: else
# sums are rounded otherwise, and after some hundred steps of training the first digits differ.
NUMERICS = {
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "KERAS_BACKEND": "torch",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
_UNTRACKED = {"build", "site", "node_modules", "__pycache__"}


@dataclass
class Result:
    """What one block did: its outputs, and its failure if it failed."""

    kind: str
    line: int
    source: str
    outputs: list[dict[str, Any]]
    error: str | None = None
    error_line: int | None = None


@dataclass
class Run:
    """One execution of a chapter; `needs` has the state of all that it depended on."""

    name: str
    results: list[Result]
    seconds: float
    needs: dict[str, str | None] = field(default_factory=dict)
    cached: bool = False

    def errors(self, chapter: Chapter) -> list[ChapterError]:
        """Every failure, with the chapter's own line."""
        return [
            ChapterError(chapter.path, result.error_line or result.line, result.error)
            for result in self.results
            if result.error
        ]


@cache
def versions() -> dict[str, str]:
    """The Python and every installed distribution: what a run may depend on."""
    found = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    return {"python": sys.version.split()[0], **dict(sorted(found.items()))}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:20]


def code() -> dict[str, str]:
    """State what a run may load: the hash of every file of lossbook, the home of every name."""
    package = ROOT / "lossbook"
    homes = _homes((package / "__init__.py").read_bytes())
    files = {relative(path): _sha256(path.read_bytes()) for path in package.rglob("*.py")}
    return files | {f"lossbook.{name}": home for name, home in homes.items()}


def state(need: str) -> str | None:
    """State a file of the repository, by its hash; None where there is none."""
    path = ROOT / need
    return _sha256(path.read_bytes()) if path.is_file() else None


def always(chapter: Chapter) -> dict[str, str | None]:
    """State what every run needs."""
    installed = {"lossbook": __version__, **versions()}
    return {
        "chapter": _sha256(chapter.text.encode()),
        "versions": _sha256(json.dumps(installed).encode()),
        **{file: state(file) for file in RUNNER},
    }


def _cache(chapter: Chapter) -> Path:
    return BUILD / "runs" / f"{chapter.name.replace('/', '.')}.json"


def cached(chapter: Chapter) -> Run | None:
    """Return the stored run of a chapter, unless something that it needed has changed."""
    try:
        stored = json.loads(_cache(chapter).read_text())
        needs = stored["needs"].items()
    except (OSError, ValueError, KeyError):
        return None
    now = {**code(), **always(chapter)}
    if any(now.get(need, state(need)) != was for need, was in needs):
        return None
    results = [Result(**result) for result in stored["results"]]
    return Run(chapter.name, results, stored["seconds"], stored["needs"], cached=True)


def _store(chapter: Chapter, run: Run) -> None:
    path = _cache(chapter)
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = asdict(run)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(stored))
    partial.replace(path)


def tree() -> dict[str, tuple[int, int]]:
    """Every file of the repository that a chapter must leave alone, with size and time."""
    files = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in _UNTRACKED and not f.startswith(".")]
        folders[:] = [f for f in folders if not f.endswith(".egg-info")]
        for name in names:
            stat = os.stat(os.path.join(folder, name))
            files[relative(Path(folder, name))] = (stat.st_size, stat.st_mtime_ns)
    return files


def run(chapter: Chapter, *, seconds: int = CELL_SECONDS) -> Run:
    """Run one chapter, or return its cached run. Failures are in the results, not raised."""
    return run_all([chapter], seconds=seconds)[0]


def run_all(
    chapters: Sequence[Chapter],
    *,
    workers: int | None = None,
    seconds: int = CELL_SECONDS,
    watch_tree: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> list[Run]:
    """Run several chapters at once; the first failure does not hide the others.

    Args:
        chapters: What to run.
        workers: How many at once; the number of cores by default.
        seconds: The longest that a cell may take.
        watch_tree: Whether a chapter that changes the repository's files fails.
        report: Called with a line of progress as each chapter ends.

    Returns:
        A run a chapter, in their order.
    """
    return asyncio.run(
        _run_all(chapters, workers or os.cpu_count() or 1, seconds, watch_tree, report)
    )


async def _run_all(
    chapters: Sequence[Chapter],
    workers: int,
    seconds: int,
    watch_tree: bool,
    report: Callable[[str], None],
) -> list[Run]:
    free = asyncio.Semaphore(workers)
    done = 0
    before = tree() if watch_tree else {}
    together = len(chapters) > 1

    async def one(chapter: Chapter) -> Run:
        nonlocal done
        async with free:
            # Whoever asks for the same chapter in another process waits for this run.
            name = hashlib.sha256(str(_cache(chapter)).encode()).hexdigest()[:16]
            lock = FileLock(f"{tempfile.gettempdir()}/lossbook-{name}.lock", thread_local=False)
            await asyncio.to_thread(lock.acquire)
            try:
                run = cached(chapter)
                if run is None:
                    # As it was before: what is edited meanwhile may not be what ran.
                    was, needs, start = code(), always(chapter), time.perf_counter()
                    results, loaded = await _execute(chapter, seconds, together)
                    needs |= {need: was.get(need, state(need)) for need in loaded}
                    run = Run(chapter.name, results, round(time.perf_counter() - start, 1), needs)
                    if watch_tree and results:
                        changed = sorted({k for k, _ in before.items() ^ tree().items()})
                        if changed and not results[-1].error:
                            results[-1].error = f"the chapter changed {', '.join(changed)}"
                    if not run.errors(chapter):
                        _store(chapter, run)
            finally:
                lock.release()
        done += 1
        how = (
            "failed" if run.errors(chapter) else "cached" if run.cached else f"{run.seconds:.1f} s"
        )
        report(f"{done:3}/{len(chapters)}  {chapter.name:44} {how}")
        return run

    return await asyncio.gather(*(one(chapter) for chapter in chapters))


async def _execute(
    chapter: Chapter, seconds: int, together: bool = False
) -> tuple[list[Result], list[str]]:
    """Run the blocks of a chapter in a kernel of its own; also list what it loaded."""
    if not chapter.blocks:
        return [], []
    import nbformat
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    from lossbook.book.runs.forks import ForkedKernelManager

    results = [Result(b.kind, b.line, b.source, []) for b in chapter.blocks]
    needs: list[str] = []
    cells = ["from lossbook.book.runs import kernel as _kernel\n_kernel.start()"]
    cells += [_code(chapter, block) for block in chapter.blocks]
    cells += ["_kernel.needs()"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    # A short path: the kernel's socket lies in this folder, and sockets allow 100 characters.
    with tempfile.TemporaryDirectory(prefix="lb") as folder:
        config = Config()
        if os.name == "posix":
            config.AsyncKernelManager.transport = "ipc"
            config.AsyncKernelManager.ip = f"{folder}/k"
        work = Path(folder, "work")
        work.mkdir()
        client = NotebookClient(
            notebook,
            config=config,
            # Where a process that has loaded much can be forked.
            kernel_manager_class=(
                ForkedKernelManager if together and sys.platform == "linux" else AsyncKernelManager
            ),
            kernel_name="python3",
            timeout=START_SECONDS,
            startup_timeout=START_SECONDS,
            shutdown_kernel="immediate",
            coalesce_streams=True,
            extra_arguments=["--HistoryManager.enabled=False"],
            resources={"metadata": {"path": str(work)}},
        )
        try:
            async with client.async_setup_kernel(env=_environment(work)):
                await client.async_execute_cell(notebook.cells[0], 0)
                client.timeout, lost = seconds, ""
                for i, result in enumerate(results, 1):
                    cell = notebook.cells[i]
                    try:
                        await client.async_execute_cell(cell, i)
                    except CellExecutionError:
                        pass  # The error is among the outputs, with its line.
                    except CellTimeoutError:
                        lost = f"the cell took more than {seconds} s"
                    except DeadKernelError:
                        lost = "the kernel died"
                    _collect(chapter, result, cell)
                    if lost:
                        result.error = lost
                        for rest in results[i:]:
                            rest.error = f"not run: line {result.line}: {lost}"
                        break
                else:
                    await client.async_execute_cell(notebook.cells[-1], len(cells) - 1)
                    needs = notebook.cells[-1].outputs[0]["data"][NEEDS]
        # nbclient ends a kernel that it has lost with an assertion or a missing attribute.
        except (
            *(CellExecutionError, CellTimeoutError, DeadKernelError, RuntimeError),
            *(AssertionError, AttributeError),
        ) as error:
            for result in results:
                result.error = result.error or f"the kernel failed: {_ANSI.sub('', str(error))}"
    return results, needs


def _code(chapter: Chapter, block: Fence) -> str:
    if block.kind == "python":
        return block.source.rstrip("\n")
    return f"_kernel.check({block.source!r}, {relative(chapter.path)!r}, {block.line})"


def _environment(work: Path) -> dict[str, str]:
    """The kernel's: its own folders, this tree's lossbook, no chance."""
    own = {name: str(work) for name in ("HOME", "TMPDIR", "IPYTHONDIR")}
    own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **own, **NUMERICS, "PYTHONDONTWRITEBYTECODE": "1"}


def _collect(chapter: Chapter, result: Result, cell: Any) -> None:
    """Move a cell's outputs into its result; draw the charts; note what failed."""
    for output in cell.outputs:
        data = output.get("data", {})
        if output.output_type == "error":
            text = _ANSI.sub("", "\n".join(output.traceback))
            lines = re.findall(r"(?:Cell In\[\d+\]|<ipython[^>]*>), line (\d+)", text)
            result.error_line = result.line + int(lines[0] if lines else 0)
            result.error = f"{output.ename}: {_ANSI.sub('', output.evalue)}\n{text}"
        elif output.output_type == "stream" and output.name == "stderr":
            result.error = f"the cell wrote to stderr: {output.text}"
        elif output.output_type == "stream":
            result.outputs.append({"text/plain": output.text})
        elif DOCTEST in data:
            result.error = data[DOCTEST]
            found = re.search(r", line (\d+)", result.error)
            result.error_line = int(found[1]) if found else None
        elif CHART in data:
            number = 1 + sum("chart" in o for o in result.outputs)
            name = f"{chapter.name.replace('/', '-')}-{result.line}-{number}"
            try:
                result.outputs.append({"chart": draw(data[CHART], name)})
            except ValueError as error:
                result.error = str(error)
        elif data:
            result.outputs.append(dict(data))
