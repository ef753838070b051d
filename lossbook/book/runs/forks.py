"""Kernels of chapters that run together: forked from one process that has loaded the libraries.

A program of its own spends two seconds on torch and altair, three more on a loss's peers.
"""

import multiprocessing
import os
import sys
import tempfile
from multiprocessing.process import BaseProcess
from typing import Any
from unittest import mock

from jupyter_client.manager import AsyncKernelManager

# Loading them starts no thread, which a fork would lose. Those that are not installed are left out.
LIBRARIES = [
    *("altair", "ipykernel.kernelapp", "torch"),
    *("sklearn.datasets", "sklearn.linear_model", "sklearn.metrics"),
    *("keras", "kornia.losses", "monai.losses", "optax", "ot", "pytorch_metric_learning.losses"),
]


class ForkedKernelManager(AsyncKernelManager):
    """Forks a kernel where jupyter_client would start a program; all else is the same."""

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload(LIBRARIES)
        arguments = kernel_cmd[kernel_cmd.index("-f") :]
        process = forks.Process(
            target=_become_kernel, args=(arguments, options["cwd"], options["env"])
        )
        # The first kernel loads the libraries, which read the environment.
        with mock.patch.dict(os.environ, options["env"], clear=True):
            process.start()
        local: Any = self.provisioner
        local.process = _Popen(process)
        local.pid = local.pgid = process.pid  # What a kernel starts ends with it.
        self._reconcile_connection_info(local.connection_info)


class _Popen:
    """A process of multiprocessing under the names of `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, process: BaseProcess) -> None:
        self.process = process
        self.kill, self.terminate = process.kill, process.terminate

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def send_signal(self, signal: int) -> None:
        if self.process.pid and self.poll() is None:
            os.kill(self.process.pid, signal)


def _become_kernel(options: list[str], folder: str, environment: dict[str, str]) -> None:
    from ipykernel.kernelapp import launch_new_instance

    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    # The lossbook of the chapter's tree, not that of whoever forks; and doctest has made a class of
    # the debugger that the kernel replaces.
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("lossbook", "doctest")]:
        del sys.modules[name]
    launch_new_instance([*options, f"--IPKernelApp.parent_handle={os.getppid()}"])
