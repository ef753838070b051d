"""python -m tests.bench: time the losses against their peers, or the book.

python -m tests.bench                   every loss, about a quarter of an hour
python -m tests.bench focal_loss        the rows of one loss
python -m tests.bench --device cuda
python -m tests.bench --record          keep what was measured, for the page "Speed"
python -m tests.bench --book            the book itself
"""

import argparse
import os
import subprocess
import sys
import time


def pin(threads: int) -> None:
    """Hold this process to some of its processors: every library's threads then fit."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["OMP_NUM_THREADS"] = str(threads)


def quiet(device: str) -> None:
    """Set what the libraries read when they are loaded."""
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ["KERAS_TORCH_DEVICE"] = device
    os.environ.setdefault("JAX_PLATFORMS", "")  # Where there is a GPU, on the GPU.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # JAX would take most of a GPU.
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # The profiler announces itself.
    os.environ["KINETO_LOG_LEVEL"] = "5"


def work(losses: list[str], threads: int, device: str, seconds: float) -> int:
    """Measure rows in this process, with so many threads."""
    if device == "cpu":
        pin(threads)
    quiet(device)
    import torch

    from tests.bench.measure import OURS, measure
    from tests.bench.rows import rows

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    failed = 0
    chosen = [row for row in rows() if not losses or row.loss.__name__ in losses]
    for i, row in enumerate(chosen, 1):
        start = time.perf_counter()
        head = f"[{i}/{len(chosen)}] {row.loss.__name__} {row.size}, {threads} thread(s)"
        try:
            found = measure(row, threads, device, seconds)["candidates"]
        except Exception as error:
            failed += 1
            print(f"{head}: {type(error).__name__}: {error}", flush=True)
            continue
        words = [f"{head}: {found[OURS]['ms']:.1f} ms ({time.perf_counter() - start:.0f} s)"]
        for name, result in found.items():
            if name != OURS and result["status"] == "timed":
                low, middle, high = result["ratio"]
                words.append(f"  {name}: {middle:.2f} times ({low:.2f} to {high:.2f})")
            elif name != OURS:
                words.append(f"  {name}: not run, {result['reason']}")
        print("\n".join(words), flush=True)
        torch._dynamo.reset()
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("losses", nargs="*", metavar="LOSS")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing a row (3)")
    parser.add_argument("--threads", type=int, nargs="+", help="1 2 on the cpu, 1 on a GPU")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--book", action="store_true")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.losses, options.worker, options.device, options.seconds)
    if options.record:
        from lossbook.book.pages.speed import record

        return record()
    if options.book:
        from tests.bench.book import main as book

        return book()

    from tests.bench.rows import rows

    known = sorted({row.loss.__name__ for row in rows()})
    for name in options.losses:
        if name not in known:
            parser.error(f"expected a loss with a benchmark, got {name!r}; there are {known}")
    failed = 0
    for threads in options.threads or ([1, 2] if options.device == "cpu" else [1]):
        command = [sys.executable, "-m", "tests.bench", *options.losses, "--worker", str(threads)]
        command += ["--device", options.device, "--seconds", str(options.seconds)]
        failed += subprocess.run(command, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
