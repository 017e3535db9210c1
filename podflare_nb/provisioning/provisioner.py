"""Jupyter's way to our kernels: a ``jupyter_client`` provisioner, so that JupyterLab, nbclient and every other client
starts the same jailed, forked kernels, through the running service's supervisor or one of its own.

Provisioners are called from whatever event loop their caller happens to have (jupyter_client's synchronous managers
run one for the length of a call); the connection to the supervisor needs one that runs all the time, so it lives in a
thread of its own, one for the process. Kernels end with the process that started them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from jupyter_core.paths import jupyter_path
from traitlets import Unicode

from .. import errors
from . import kernelspec
from .client import SOCKET_VARIABLE, Supervisor, default_runtime_dir
from .handle import KernelHandle
from .supervisor_socket import find_sockets

T = TypeVar("T")
ALREADY_GONE = 0


class SupervisorThread:
    """The loop that talks to the supervisor, and the connection, made when first needed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="podflare-nb supervisor client", daemon=True).start()
        self._supervisor: Supervisor | None = None
        self._lock = asyncio.Lock()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` in the thread's loop and await it in the caller's."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def supervisor(self, template: str) -> Supervisor:
        """A connection to a supervisor that has ``template``; call in the thread's loop."""
        async with self._lock:
            if self._supervisor is None or self._supervisor.lost.done():
                self._supervisor = await self._find(template) or await self._start()
            return self._supervisor

    @staticmethod
    async def _find(template: str) -> Supervisor | None:
        named = os.environ.get(SOCKET_VARIABLE)
        for path in [named] if named else find_sockets(default_runtime_dir()):
            with suppress(OSError):
                supervisor = await Supervisor.connect(path)
                described = await supervisor.describe()
                if any(t["name"] == template for t in described["templates"]):
                    return supervisor
                await supervisor.aclose()
        return None

    @staticmethod
    async def _start() -> Supervisor:
        directories = [Path(path) for path in jupyter_path("kernels")]
        return await Supervisor.start(kernelspec.find(directories).values())


_thread: SupervisorThread | None = None
_thread_lock = threading.Lock()


def supervisor_thread() -> SupervisorThread:
    """The process's one."""
    global _thread  # noqa: PLW0603 - one connection for each process is what it is for
    with _thread_lock:
        if _thread is None:
            _thread = SupervisorThread()
        return _thread


class ForkProvisioner(KernelProvisionerBase):
    """Kernels from the supervisor. ``template`` is set by the kernelspec's ``kernel_provisioner`` stanza."""

    template = Unicode(help="Name of the template to fork.").tag(config=True)
    _kernel: KernelHandle | None = None

    @property
    def has_process(self) -> bool:
        """Whether there is a kernel, dead or alive, that was not cleaned up."""
        return self._kernel is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Nothing to substitute: the command in the kernelspec is for clients without this provisioner."""
        kwargs.pop("extra_arguments", None)
        kwargs.pop("transport_encryption", None)  # the sockets are unix sockets that only this user may open
        return await super().pre_launch(cmd=[], **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:  # noqa: ARG002 - the base class's signature
        """Take a kernel; after a restart, a new one on the files of the old, at the same sockets and key.

        The environment in ``kwargs`` is the server's and stays out of the jail.
        """
        if not self.template:
            raise RuntimeError("The kernelspec's kernel_provisioner stanza names no template in its config.")
        template = self.template
        self._kernel = await supervisor_thread().run(self._take(template))
        info = dict(self._kernel.connection_info)
        self.connection_info = cast("KernelConnectionInfo", info | {"key": str(info["key"]).encode()})
        return self.connection_info

    async def _take(self, template: str) -> KernelHandle:
        try:
            supervisor = await supervisor_thread().supervisor(template)
            if self._kernel is not None:
                with suppress(errors.NotFoundError):
                    return await supervisor.replace(self._kernel)
            return await supervisor.acquire(template)
        except errors.PodflareError as error:
            raise RuntimeError(error.message) from error

    async def poll(self) -> int | None:
        """None while the kernel lives, else its exit code, negative for a signal."""
        if self._kernel is None:
            return ALREADY_GONE
        if not self._kernel.exited.done():
            return None
        end = self._kernel.exited.result()
        return end.exit_code if end.exit_code is not None else -(end.signal or signal.SIGKILL)

    async def wait(self) -> int | None:
        """Wait for the kernel's end."""
        if self._kernel is not None:
            await supervisor_thread().run(_ended(self._kernel))
        return await self.poll()

    async def send_signal(self, signum: int) -> None:
        """Signal the kernel process; signal 0 asks for nothing."""
        if self._kernel is not None and signum:
            await supervisor_thread().run(self._kernel.send_signal(signum))

    async def kill(self, restart: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - the base class's signature
        """Kill the kernel process; its jail stays until ``cleanup``."""
        await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - the base class's signature
        """End the kernel process."""
        await self.send_signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - the base class's signature
        """End the jail, unless a restart will go on in it."""
        if self._kernel is not None and not restart:
            kernel, self._kernel = self._kernel, None
            with suppress(errors.NoCapacityError):
                await supervisor_thread().run(kernel.kill())


async def _ended(kernel: KernelHandle) -> None:
    await asyncio.shield(kernel.exited)
