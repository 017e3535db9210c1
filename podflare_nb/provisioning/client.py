"""The supervisor as the service sees it: starts one or finds one, and hands out kernels.

Above: ``app`` (which starts it), ``sandboxes`` (which takes kernels), ``provisioner`` (Jupyter's way in).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

from .. import errors
from . import datagrams
from .handle import KernelHandle, Usage
from .kernel_exit import KernelExit
from .kernelspec import TemplateSpec
from .limits import Limits
from .waiting import receive, writable

Isolation = Literal["namespaces", "none"]
STOP_SECONDS = 30
SOCKET_VARIABLE = "PODFLARE_NB_SUPERVISOR"
"""Path of the socket of a running supervisor, for other processes of the same user."""
LOST = "The supervisor has ended, and every kernel with it; restart the service."


class _LostError(errors.NoCapacityError):
    """The supervisor has ended; so have its kernels."""


class Kernel:
    """A live kernel (``handle.KernelHandle``), over the connection that took it."""

    def __init__(self, supervisor: Supervisor, template: str, body: dict[str, Any], workspace_fd: int) -> None:
        self._supervisor = supervisor
        self.kernel_id: str = body["kernel_id"]
        self.template = template
        self.limits = Limits(**body["limits"])
        self.connection_info: Mapping[str, Any] = body["connection_info"]
        self.owner_ids: tuple[int, int] = (body["owner_ids"][0], body["owner_ids"][1])
        self.pid: int = body["pid"]
        self.workspace_fd = workspace_fd
        self.exited: asyncio.Future[KernelExit] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Kernel {self.kernel_id} {self.template} {'ended' if self.exited.done() else 'alive'}>"

    async def send_signal(self, signum: int) -> None:
        """Signal the kernel process; nothing if it has ended."""
        with suppress(errors.NotFoundError, _LostError):
            await self._supervisor.request("signal", kernel_id=self.kernel_id, signum=int(signum))

    async def kill(self) -> None:
        """End its sandbox and free all it held; returns when that is done. Idempotent."""
        self.release()
        with suppress(_LostError):
            await self._supervisor.request("kill", kernel_id=self.kernel_id)
        self.ended(KernelExit("closed", "The kernel was ended by the service."))

    async def usage(self) -> Usage:
        """Read what it uses now; all None without a jail."""
        answer, _ = await self._supervisor.request("usage", kernel_id=self.kernel_id)
        return Usage(**answer)

    def release(self) -> None:
        """Close our descriptor of its workspace. Idempotent."""
        if self.workspace_fd >= 0:
            os.close(self.workspace_fd)
            self.workspace_fd = -1

    def ended(self, end: KernelExit) -> None:
        """The supervisor says that it ended."""
        if not self.exited.done():
            self.exited.set_result(end)


class Supervisor:
    """A connection to a supervisor (``handle.KernelSource``). Make it with ``start`` or ``connect``; ``aclose`` it."""

    def __init__(self, sock: socket.socket, path: str, process: asyncio.subprocess.Process | None) -> None:
        self._sock = sock
        self.path = path
        self._process = process
        self._ids = itertools.count()
        self._answers: dict[int, asyncio.Future[datagrams.Datagram]] = {}
        self._kernels: dict[str, Kernel] = {}
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())

    def __repr__(self) -> str:
        return f"<Supervisor {self.path} {'lost' if self.lost.done() else 'connected'} kernels={len(self._kernels)}>"

    @classmethod
    async def start(
        cls, templates: Iterable[TemplateSpec], *, isolation: Isolation = "namespaces", runtime_dir: Path | None = None,
        work_dir: Path | None = None, without: Iterable[str] = (),
    ) -> Self:  # fmt: skip
        """Start a supervisor process of our own, which ends with us. Raises IsolationError in one sentence."""
        ours, theirs = datagrams.pair()
        ours.settimeout(0)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "podflare_nb.provisioning.supervisor", str(theirs.fileno()),
                pass_fds=[theirs.fileno()], env=_clean_environment(), stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        config = {
            "isolation": isolation, "templates": [spec.to_json() for spec in templates], "without": list(without),
            "runtime": str(runtime_dir or default_runtime_dir()), "work": str(work_dir or default_work_dir()),
        }  # fmt: skip
        datagrams.send(ours, config)
        try:
            answer = (await receive(ours)).body
        except datagrams.PeerClosedError:
            answer = {"error": "The supervisor ended before it was ready."}
        if answer.get("event") != "ready":
            ours.close()
            await process.wait()
            raise errors.IsolationError(answer["error"])
        return cls(ours, answer["socket"], process)

    @classmethod
    async def connect(cls, path: str) -> Self:
        """Connect to a running one. Raises OSError if there is none at ``path``."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            sock.connect(path)
        except BaseException:
            sock.close()
            raise
        sock.settimeout(0)
        return cls(sock, path, None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def acquire(
        self, template: str, *, limits: Limits | None = None, env: Mapping[str, str] | None = None
    ) -> KernelHandle:
        """See ``handle.KernelSource``."""
        body, fds = await self.request(
            "acquire", template=template, limits=asdict(limits) if limits else None, env=dict(env or {})
        )
        return self._adopt(template, body, fds)

    async def replace(self, dead: KernelHandle) -> KernelHandle:
        """See ``handle.KernelSource``."""
        body, fds = await self.request("replace", kernel_id=dead.kernel_id)
        if isinstance(dead, Kernel):
            self._kernels.pop(dead.kernel_id, None)
            dead.release()
            dead.ended(KernelExit("closed", "The kernel was replaced by a new one."))
        return self._adopt(dead.template, body, fds)

    def _adopt(self, template: str, body: dict[str, Any], fds: list[int]) -> Kernel:
        kernel = self._kernels[body["kernel_id"]] = Kernel(self, template, body, fds[0])
        kernel.exited.add_done_callback(lambda _: self._kernels.pop(kernel.kernel_id, None))
        return kernel

    async def describe(self) -> dict[str, Any]:
        """``{"templates": [{name, state, error, warm, target, language_info}], "kernels": <ours>}``."""
        return (await self.request("describe"))[0]

    async def request(self, op: str, **arguments: Any) -> tuple[dict[str, Any], list[int]]:
        """One request and its answer. Raises what the supervisor answered, NoCapacityError if it is lost."""
        if self.lost.done():
            raise _LostError(LOST)
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            await self._send({"id": number, "op": op, **arguments})
            datagram = await answer
        except asyncio.CancelledError:
            # What was asked for may still be made: it must not stay behind.
            self._answers[number] = asyncio.get_running_loop().create_future()
            self._answers[number].add_done_callback(self._discard)
            raise
        if (error := datagram.body.get("error")) is not None:
            raise _ERRORS.get(error["code"], errors.NoCapacityError)(error["message"], **error["details"])
        return datagram.body["ok"], datagram.fds

    def _discard(self, late: asyncio.Future[datagrams.Datagram]) -> None:
        if late.cancelled() or late.exception() is not None:
            return
        datagram = late.result()
        datagram.close_fds()
        kernel_id = (datagram.body.get("ok") or {}).get("kernel_id")
        if kernel_id is not None:
            datagrams.send(self._sock, {"id": next(self._ids), "op": "kill", "kernel_id": kernel_id})

    async def _send(self, body: dict[str, Any]) -> None:
        while True:
            try:
                return datagrams.send(self._sock, body)
            except BlockingIOError:
                await writable(self._sock.fileno())
            except (datagrams.PeerClosedError, OSError):
                raise _LostError(LOST) from None

    async def _read(self) -> None:
        try:
            while True:
                self._dispatch(await receive(self._sock))
                # Whoever waited for this answer goes first: the next datagram may tell of the end of what it got.
                await asyncio.sleep(0)
        except (datagrams.PeerClosedError, ValueError, OSError):
            pass
        finally:
            self._lose()

    def _dispatch(self, datagram: datagrams.Datagram) -> None:
        body = datagram.body
        if body.get("event") == "exit":
            kernel = self._kernels.get(body["kernel_id"])
            if kernel is not None:
                kernel.ended(KernelExit(body["cause"], body["message"], body["exit_code"], body["signal"]))
            return
        answer = self._answers.pop(body["id"], None)
        if answer is None or answer.done():
            datagram.close_fds()
        else:
            answer.set_result(datagram)

    def _lose(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(_LostError(LOST))
        for kernel in list(self._kernels.values()):
            kernel.release()
            kernel.ended(KernelExit("killed", LOST))

    async def aclose(self) -> None:
        """Close; kernels that were taken here end. One that we started ends itself, and we wait for it. Idempotent."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        self._sock.close()
        if self._process is not None:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


_ERRORS: dict[str, type[errors.PodflareError]] = {
    error.code: error for error in (errors.NotFoundError, errors.NoCapacityError, errors.ConflictError)
}


def _clean_environment() -> dict[str, str]:
    """What the supervisor, and so every template, may know of our environment."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ")
    # Its own package, wherever it was imported from: -P keeps the current directory out.
    package = str(Path(__file__).resolve().parents[2])
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONPATH": package}


def default_runtime_dir() -> Path:
    """For sockets: short, since a unix socket's path has 107 bytes (unix(7))."""
    named = os.environ.get("PODFLARE_NB_RUNTIME_DIR")
    if named:
        return Path(named)
    if os.getuid() == 0:
        return Path("/run/podflare_nb")
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / "podflare_nb" if base else Path(tempfile.gettempdir()) / f"podflare_nb-{os.getuid()}"


def default_work_dir() -> Path:
    """For disks of sandboxes: on a real file system, large."""
    return Path("/var/tmp") / f"podflare_nb-{os.getuid()}"  # noqa: S108 - made 0700, and its owner is checked
