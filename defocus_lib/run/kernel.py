"""Kernels of this interpreter; on Linux copies of one process that has imported the packages.

The notebooks of a book import the same large packages, which takes each of them seconds. A fork
server imports them once, and every kernel is a copy of it.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

CAN_FORK = sys.platform == "linux"
ARGUMENTS = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
# The slow ones, all of them while the first notebook runs.
PACKAGES = [
    "ipykernel.kernelapp",
    "ipywidgets",
    "myst_nb",
    "numba",
    "pyarrow.parquet",
    "scipy.stats",
    "seaborn",
    "sklearn.metrics",
    "timm",
    "umap",
]


class Forks:
    """A fork server, whose copies are kernels; one in a process, on Linux.

    Its ``environment`` is that of all copies, because packages read theirs (the number of threads,
    the seed of hashes) when they are imported.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._context: Any = None

    def serve(self, environment: Mapping[str, str]) -> bool:
        """Whether a copy can have this environment. The first call is told no, and begins the
        imports; a copy that is asked for meanwhile waits for their end."""
        if self._context is None and CAN_FORK:
            self._begin()
            return False
        return CAN_FORK and self.environment.items() <= environment.items()

    def _begin(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PACKAGES)
        given = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)  # the server inherits it
        forkserver.ensure_running()
        for name in (name for name, value in given.items() if value is None):
            del os.environ[name]
        os.environ.update({name: value for name, value in given.items() if value is not None})

    def start(self, arguments: Sequence[str], directory: str) -> _Process:
        """A copy that serves as the kernel with these arguments of ``ipykernel_launcher``."""
        process = self._context.Process(target=_serve, args=(list(arguments), directory))
        process.start()
        return _Process(process)


def _serve(arguments: list[str], directory: str) -> None:
    from ipykernel.kernelapp import launch_new_instance

    os.setsid()  # interrupts reach the kernel with what it started, and nothing else
    os.chdir(directory)
    os.environ["JPY_PARENT_PID"] = str(os.getppid())  # the kernel ends when that process has
    # Where pyplot is imported before there is a shell, it does not hook figures into it by itself.
    launch_new_instance(argv=[*arguments, "--matplotlib=inline"])


class _Process:
    """A process as Jupyter wants it: like one of :class:`subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, process: Any) -> None:
        self._process = process
        self.pid = process.pid
        self.kill, self.terminate = process.kill, process.terminate

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class KernelManager(AsyncKernelManager):
    """Starts kernels of this interpreter, whatever others are installed; with ``forks``, copies."""

    def __init__(self, forks: Forks | None = None) -> None:
        super().__init__(kernel_name="python3")
        self.forks = forks

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, *ARGUMENTS]
        return KernelSpec(argv=command, display_name="Python 3", language="python")

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kwargs: Any) -> None:
        if self.forks is None or not self.forks.serve(kwargs["env"]):
            return await super()._async_launch_kernel(kernel_cmd, **kwargs)
        process, place = self.forks.start(kernel_cmd[3:], kwargs["cwd"]), self.provisioner
        assert isinstance(place, LocalProvisioner)  # what Jupyter makes where a spec names no other
        place.process, place.cwd = process, kwargs["cwd"]  # type: ignore[assignment]
        place.pid = place.pgid = process.pid
        self._reconcile_connection_info(place.connection_info)
