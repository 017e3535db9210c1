"""A template as the supervisor holds it: the process of a quiescent kernel, from which kernels are forked."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ..errors import NoCapacityError, PodflareError
from . import datagrams, library_caches
from .jail import package_files
from .jail.plan import Installed
from .kernel import loader
from .kernelspec import TemplateSpec
from .template_environments import PackagesError, TemplateEnvironments
from .waiting import receive, writable

log = logging.getLogger(__name__)
PRELOAD_SECONDS = 180
STOP_SECONDS = 5
PREFIXES = """
import json, os, sys, sysconfig
paths = {sys.prefix, sys.base_prefix, sys.exec_prefix}
paths.add(os.path.dirname(os.path.dirname(os.path.realpath(sys.executable))))
paths |= {sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
print(json.dumps(sorted(os.path.realpath(path) for path in paths) + [sys.prefix]))
"""
SYSTEM_TREES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


class TemplateLostError(Exception):
    """The template's process ended; the sentence says what is known."""


_FAILURES = (TemplateLostError, PackagesError, PodflareError, datagrams.PeerClosedError, TimeoutError)


class Installer(Protocol):
    """Installs a template's system packages: ``system_packages.SystemPackages``."""

    async def take(self, template: Template) -> Installed:
        """What they changed; made if it is not there, in a jail with a fork of this template. Raises PackagesError,
        TemplateLostError, OSError, PodflareError."""


class Template:
    """One template. ``start`` it, await ``ready``, then ``spawn``; ``close`` ends it, not the kernels made from it."""

    def __init__(self, spec: TemplateSpec, environments: TemplateEnvironments, system: Installer, caches: Path) -> None:
        """``caches``: see ``library_caches``."""
        self.spec = spec
        self.python = spec.python
        """Its interpreter; once it is started, that of the environment with its packages."""
        self._environments = environments
        self._system = system
        self._caches = caches
        self.installed: Installed | None = None
        """Its system packages, once it is ready."""
        self._forks = False
        """Whether its process can fork, which comes before it is ready."""
        self.ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(_seen)
        self.sources: tuple[str, ...] = ()
        self._process: asyncio.subprocess.Process | None = None
        self._sock: socket.socket | None = None
        self._reader: asyncio.Task[None] | None = None
        self._endings: dict[str, asyncio.Future[int | None]] = {}
        self.lost = False
        """Whether its process was ended by somebody else: another one may be started in its place."""

    def __repr__(self) -> str:
        state = "loading" if not self.ready.done() else "failed" if self.ready.exception() else "ready"
        return f"<Template {self.spec.name} {state}>"

    @property
    def environment(self) -> dict[str, str]:
        """What a kernel of this template finds in ``os.environ``. Nothing of the service's own environment."""
        programs = ":".join(dict.fromkeys(str(Path(python).parent) for python in (self.python, self.spec.python)))
        return {
            "HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash", "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "PATH": f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "DEBIAN_FRONTEND": "noninteractive",
            **_installing_into(self.python), **package_files.ENVIRONMENT, **self.spec.env,
        }  # fmt: skip

    async def start(self) -> None:
        """Start the process and wait until its libraries are imported; the outcome is kept in ``ready``."""
        try:
            self.ready.set_result(await self._start())
        except (OSError, ValueError, *_FAILURES) as error:
            self.lost = self.lost or isinstance(error, datagrams.PeerClosedError)
            reason = str(error) or (
                "it took too long" if isinstance(error, TimeoutError) else "it ended without a word"
            )
            self.ready.set_exception(NoCapacityError(f"The template {self.spec.name} cannot be loaded: {reason}"))

    async def _start(self) -> dict[str, Any]:
        self.sources = await find_sources(self.spec.python)
        if self.spec.packages:
            prefix = await self._environments.take(self.spec)
            self.python, self.sources = str(prefix / "bin/python"), outermost([*self.sources, str(prefix)])
        self._sock, theirs = datagrams.pair()
        self._sock.settimeout(0)
        environment = {key: value for key, value in self.environment.items() if key != "HOME"}
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *loader.command(self.python, theirs.fileno()),
                pass_fds=[theirs.fileno()], env={**environment, "HOME": "/nonexistent"}, cwd="/",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._configure(self._sock)
        async with asyncio.timeout(PRELOAD_SECONDS):
            body = (await receive(self._sock)).body
        if body.get("event") != "ready":
            raise TemplateLostError(str(body.get("error", body)))
        if trouble := body["cache_trouble"]:
            self._tell_of_caches(trouble)
        self._reader = asyncio.create_task(self._read(self._sock))
        self._forks = True
        if self.spec.apt:
            self.installed = await self._system.take(self)
        return body

    def _configure(self, sock: socket.socket) -> None:
        opened = []
        try:
            opened.append(library_caches.open_directory(self._caches))
        except OSError as error:
            self._tell_of_caches(str(error))
        try:
            datagrams.send(sock, {"op": "configure", "preload": self.spec.preload, "env": self.environment}, opened)
        finally:
            for each in opened:
                os.close(each)

    def _tell_of_caches(self, trouble: str) -> None:
        log.warning(
            "The template %s starts slower than it could: what its libraries cache in %s could not be used or kept: %s",
            self.spec.name, self._caches, trouble,
        )  # fmt: skip

    async def _read(self, sock: socket.socket) -> None:
        """Hear of kernels that ended; for the rest they speak for themselves, on their own sockets."""
        with suppress(datagrams.PeerClosedError, ValueError):
            while True:
                told = await receive(sock)
                told.close_fds()
                ending = self._endings.pop(str(told.body.get("kernel_id")), None) if "status" in told.body else None
                if ending is not None and not ending.done():
                    ending.set_result(int(told.body["status"]))
        self._lose()

    def _lose(self) -> None:
        """Its process has ended: its kernels, orphaned, are the supervisor's children now (a subreaper)."""
        self.lost = True
        for ending in self._endings.values():
            if not ending.done():
                ending.set_result(None)
        self._endings.clear()

    def ending(self, kernel_id: str) -> asyncio.Future[int | None]:
        """The wait status of a kernel, once it has ended; None if the template did before it could tell."""
        if self.lost:
            ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
            ended.set_result(None)
            return ended
        return self._endings.setdefault(kernel_id, asyncio.get_running_loop().create_future())

    async def spawn(
        self, kernel_id: str, jail_plan: Mapping[str, Any] | None, fds: Sequence[int], *, op: str = "spawn"
    ) -> None:
        """Fork a kernel, or with the op ``terminal`` what becomes a terminal's command. The child speaks on its own
        control socket from then on. Raises TemplateLostError."""
        if not self._forks:
            await self.ready
        assert self._sock is not None  # noqa: S101 - ready
        body = {"op": op, "kernel_id": kernel_id, "jail": jail_plan}
        while True:
            try:
                return datagrams.send(self._sock, body, fds)
            except BlockingIOError:
                await writable(self._sock.fileno())
            except datagrams.PeerClosedError:
                self._lose()
                raise TemplateLostError(f"The template {self.spec.name} has ended.") from None

    async def close(self) -> None:
        """End the process. Idempotent."""
        if self._reader is not None:
            self._reader.cancel()
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._process is not None and self._process.returncode is None:
            if self.ready.done():  # one that is still loading does not hear that its socket is closed
                with suppress(TimeoutError):
                    async with asyncio.timeout(STOP_SECONDS):
                        await self._process.wait()
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()


def _installing_into(python: str) -> dict[str, str]:
    """Which environment uv installs into: the kernel's, as pip does."""
    prefix = Path(python).parent.parent
    return {"VIRTUAL_ENV": str(prefix)} if (prefix / "pyvenv.cfg").is_file() else {"UV_SYSTEM_PYTHON": "1"}


def _seen(ready: asyncio.Future[dict[str, Any]]) -> None:
    """Whoever needs the template asks for its failure; asyncio need not warn that nobody did."""
    if not ready.cancelled():
        ready.exception()


async def find_sources(python: str) -> tuple[str, ...]:
    """The host directories that programs of ``python``'s environment need: the system's and its own prefixes.

    Raises OSError if that interpreter cannot be run.
    """
    process = await asyncio.create_subprocess_exec(
        python, "-I", "-c", PREFIXES, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise OSError(f"{python} does not run (exit code {process.returncode})")
    prefixes = json.loads(out)
    if exposed := {"/", "/etc", "/home", "/root", "/var"} & set(prefixes):
        raise OSError(f"{python} is installed in {exposed.pop()}: every sandbox would see all of it")
    trees = [tree for tree in SYSTEM_TREES if os.path.isdir(tree) and not os.path.islink(tree)]  # noqa: ASYNC240, PTH112, PTH114 - seven stats, once
    return outermost([*trees, *prefixes])


def outermost(paths: Sequence[str]) -> tuple[str, ...]:
    """``paths`` without those that lie below another one of them, sorted."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(path == other or path.startswith(other + "/") for other in kept):
            kept.append(path)
    return tuple(kept)
