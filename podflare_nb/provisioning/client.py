"""The supervisor as the service sees it: starts one or finds one, and hands out kernels.

Above: ``app`` (which starts it), ``sandboxes`` (which takes kernels), ``provisioner`` (Jupyter's way in).
"""

from __future__ import annotations

import asyncio
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
from ..protocol.egress import Egress
from . import datagrams
from .client_kernels import Audit, HeldKernels
from .handle import KernelHandle
from .kernelspec import TemplateSpec
from .limits import Limits
from .network import forwarding
from .network.config import NetworkConfig
from .supervisor_link import SupervisorLink
from .waiting import receive

Isolation = Literal["namespaces", "none"]
STOP_SECONDS = 30
SWEEPS, SWEEP_AGAIN_SECONDS = 100, 0.1
SOCKET_VARIABLE = "PODFLARE_NB_SUPERVISOR"
"""Path of the socket of a running supervisor, for other processes of the same user."""


class Supervisor:
    """A connection to a supervisor (``handle.KernelSource``). Make it with ``start`` or ``connect``; ``aclose`` it."""

    def __init__(
        self, sock: socket.socket, path: str, process: asyncio.subprocess.Process | None, no_internet: str = ""
    ) -> None:
        self.path = path
        self.no_internet = no_internet
        """A sentence why sandboxes cannot have the public internet; empty if they can, or if nobody told."""
        self._process = process
        self._held = HeldKernels()
        self._link = self._held.link = SupervisorLink(sock, self._held.hear)
        self._link.lost.add_done_callback(self._held.lose)
        self._ending = None if process is None else asyncio.create_task(_sweep_after(process))

    def __repr__(self) -> str:
        return f"<Supervisor {self.path} {self._link!r} kernels={len(self._held)}>"

    @property
    def lost(self) -> asyncio.Future[None]:
        """Resolves when it has ended."""
        return self._link.lost

    def audit(self, audit: Audit) -> None:
        """Tell this of every connection of every sandbox from now on."""
        self._held.audit = audit

    @classmethod
    async def start(  # noqa: PLR0913 - what an operator may say
        cls, templates: Iterable[TemplateSpec], *, isolation: Isolation = "namespaces", runtime_dir: Path | None = None,
        work_dir: Path | None = None, network: NetworkConfig | None = None, without: Iterable[str] = (),
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
            "network": (network or NetworkConfig()).to_json(),
            "runtime": str(runtime_dir or default_runtime_dir()), "work": str(work_dir or default_work_dir()),
            "caches": str(default_library_caches()),
        }  # fmt: skip
        try:
            datagrams.send(ours, config)
            answer = (await receive(ours)).body
        except datagrams.PeerClosedError:
            answer = {"error": "The supervisor ended before it was ready."}
        except BaseException:
            ours.close()  # then it ends
            await process.wait()
            raise
        if answer.get("event") != "ready":
            ours.close()
            await process.wait()
            raise errors.IsolationError(answer["error"])
        return cls(ours, answer["socket"], process, answer["no_internet"])

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
        self, template: str, *, limits: Limits | None = None, env: Mapping[str, str] | None = None,
        egress: Egress | None = None,
    ) -> KernelHandle:  # fmt: skip
        """See ``handle.KernelSource``."""
        body, fds = await self._link.request(
            "acquire", template=template, limits=asdict(limits) if limits else None, env=dict(env or {}),
            egress=None if egress is None else egress.to_json(),
        )  # fmt: skip
        return self._held.adopt(body, fds)

    async def replace(self, dead: KernelHandle) -> KernelHandle:
        """See ``handle.KernelSource``."""
        body, fds = await self._link.request("replace", kernel_id=dead.kernel_id)
        self._held.use_up(dead, "The kernel was replaced by a new one.")
        return self._held.adopt(body, fds)

    async def succeed(self, predecessor: KernelHandle, successor: KernelHandle) -> KernelHandle:
        """See ``handle.KernelSource``."""
        body, fds = await self._link.request(
            "succeed", predecessor=predecessor.kernel_id, successor=successor.kernel_id
        )  # fmt: skip
        self._held.use_up(predecessor, "Another kernel took over its connection.")
        self._held.use_up(successor, "The kernel took over the connection of another one.")
        return self._held.adopt(body, fds)

    async def describe(self) -> dict[str, Any]:
        """``{"templates": [{name, state, error, warm, target, language_info}], "kernels": <ours>}``."""
        return (await self._link.request("describe"))[0]

    async def aclose(self) -> None:
        """Close; kernels that were taken here end. One that we started ends itself, and we wait for it. Idempotent."""
        await self._link.close()
        if self._process is not None:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._ending is not None:
            await self._ending


async def _sweep_after(supervisor: asyncio.subprocess.Process) -> None:
    """If it was killed, the host does not go on to forward for sandboxes that are no more."""
    if await supervisor.wait() == 0:
        return
    with suppress(OSError):  # without root there is nothing to take back
        for _ in range(SWEEPS):
            if forwarding.sweep():
                return
            await asyncio.sleep(SWEEP_AGAIN_SECONDS)  # what it was about to start ends a moment after it


def _clean_environment() -> dict[str, str]:
    """What the supervisor, and so every template, may know of our environment."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ")
    # Its own package, wherever it was imported from: -P keeps the current directory out.
    package = str(Path(__file__).resolve().parents[2])
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONPATH": package}


def default_runtime_dir() -> Path:
    """For sockets: short, since a unix socket's path has 107 bytes (unix(7)), and in memory where that can be had."""
    named = os.environ.get("PODFLARE_NB_RUNTIME_DIR")
    if named:
        return Path(named)
    if os.getuid() == 0:
        return _in_memory(Path("/run"), Path("/dev/shm")) / "podflare_nb"  # noqa: S108 - as below
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / "podflare_nb" if base else Path(tempfile.gettempdir()) / f"podflare_nb-{os.getuid()}"


def _in_memory(*places: Path) -> Path:
    """The first that is a tmpfs; else the first.

    In a container ``/run`` often is none, and sockets are files: on a disk it takes milliseconds to make the five of a
    kernel, when many were deleted just now.
    """
    mounts = [line.partition(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    tmpfs = {before.split()[4] for before, _, after in mounts if after.startswith("tmpfs ")}
    return next((place for place in places if str(place) in tmpfs), places[0])


def default_work_dir() -> Path:
    """For disks of sandboxes: on a real file system, large."""
    return Path("/var/tmp") / f"podflare_nb-{os.getuid()}"  # noqa: S108 - made 0700, and its owner is checked


def default_library_caches() -> Path:
    """For ``library_caches``: one for all services of a user, wherever their disks are."""
    return default_work_dir() / "library-caches"
