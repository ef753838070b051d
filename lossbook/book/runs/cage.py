"""Runs a command whose code nobody trusts, so that whatever it does costs only itself.

The command is held to limits of time, memory, disk and processes. When it ends, and when whoever
asked for it closes the pipe or dies, all that it started is killed: what left its process group
too, since its orphans come back here. It is no prison: the command reads and writes what its user
can.
"""

import contextlib
import ctypes
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

GIB = 2**30
MEMORY = 4 * GIB  # Of all its processes.
DISK = 1 * GIB  # In its folder.
FILE = 200 * 2**20
PROCESSES = 64
PERIOD = 0.2  # Seconds between two looks.


def run(command: list[str], folder: Path, seconds: float, go: Callable[[], bool]) -> str:
    """Run a command in `folder` as long as `go()`; return why it was stopped, "" if it was not.

    What it prints is in `folder / "log"`.
    """
    if sys.platform == "linux":  # Be the parent of whatever loses its own.
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    end = time.monotonic() + seconds
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_limits(),
        )
    why = ""
    try:
        while child.poll() is None and not why:
            if not go():
                why = "interrupted"
            elif time.monotonic() > end:
                why = f"longer than {seconds:g} s"
            else:
                why = _excess(folder)
    finally:
        _kill(child)
    return why


def _limits() -> Callable[[], None]:
    """What the kernel holds each process to; root is bound by all but the number of processes.

    Not address space: torch reserves many times what it uses. Data is what a process may write.
    """
    import resource

    user = os.getuid()
    tasks = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            tasks += process.num_threads() if process.uids().real == user else 0
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_DATA: MEMORY,
        resource.RLIMIT_FSIZE: FILE,
        resource.RLIMIT_NPROC: tasks + 8 * PROCESSES,  # It counts the threads of all the user's.
    }

    def bind() -> None:
        for kind, bound in bounds.items():
            hard = resource.getrlimit(kind)[1]
            bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
            resource.setrlimit(kind, (bound, bound))

    return bind


def _descendants() -> list[psutil.Process]:
    """Every process that the command started and that lives."""
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    for process in found:
        with contextlib.suppress(psutil.Error, ChildProcessError):
            if process.status() == psutil.STATUS_ZOMBIE and process.ppid() == os.getpid():
                os.waitpid(process.pid, os.WNOHANG)
    return found


def _excess(folder: Path) -> str:
    """What there is too much of."""
    found = _descendants()
    if len(found) > PROCESSES:
        return f"more than {PROCESSES} processes"
    memory = 0
    for process in found:
        with contextlib.suppress(psutil.Error):
            memory += process.memory_info().rss
    if memory > MEMORY:
        return f"more than {MEMORY / GIB:g} GiB of memory"
    disk, folders = 0, [str(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                disk += 1024 + 512 * entry.stat(follow_symlinks=False).st_blocks
                if disk > DISK:
                    return f"more than {DISK / GIB:g} GiB of files"
    return ""


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill until nothing is left: what forks while it dies is met again."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        child.poll()
        found = _descendants()
        if not found:
            break
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
    child.wait()


def _open() -> bool:
    """Wait a little; tell whether the pipe that whoever asked holds is still open."""
    return not select.select([sys.stdin], [], [], PERIOD)[0]


if __name__ == "__main__":
    print(run(sys.argv[3:], Path(sys.argv[1]), float(sys.argv[2]), _open))
