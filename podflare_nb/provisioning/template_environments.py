"""Environments of templates that list packages: made once, beside the sandboxes' disks, and kept for later services.

Each is a virtual environment (venv) on top of the template's own interpreter: it has what that has, and the packages,
which win where both have one. So in a sandbox pip and uv treat the packages as the environment's own, to upgrade and to
remove. Its name is a hash of all that it is made of, what is installed in the interpreter's environment included:
whatever changes, another one is made.

pip runs in a network namespace where there is nothing but the mirror, which alone knows the operator's indexes and
credentials, and takes wheels only: nothing of a package runs while it is installed. The template imports it, later.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import IO, Any

from . import claimed_directory
from .jail import package_files
from .kernelspec import TemplateSpec
from .network import namespaces
from .network.networks import Networks
from .waiting import readable

log = logging.getLogger(__name__)
ENVIRONMENT = "env"
COMPLETE = "complete.json"
"""Written when all is installed; it says what."""
INSTALL_SECONDS = 900
LOOK_SECONDS = 0.5
"""How often one looks whether another supervisor has made it."""
KEPT_SECONDS = 30 * 24 * 3600
"""How long one is kept that no template names."""
SAID_BYTES = 16_384
"""Of pip's last words, for the log."""
PARENT = """
import json, os, site, sys
places = [place for place in site.getsitepackages() if os.path.isdir(place)]
installed = sorted(name for place in places for name in os.listdir(place) if name.endswith((".dist-info", ".egg-info")))
print(json.dumps({"prefix": sys.prefix, "version": sys.version, "places": places, "installed": installed}))
"""
PIP = (
    "-I", "-m", "pip", "--isolated", "install", "--no-input", "--no-cache-dir", "--disable-pip-version-check",
    "--root-user-action", "ignore", "--progress-bar", "off", "--only-binary", ":all:",
    "--index-url", package_files.PYTHON_INDEX, "--",
)  # fmt: skip


Make = Callable[[Path], Awaitable[None]]
"""Make it in this directory, in which somebody may have been killed at that."""


class PackagesError(Exception):
    """A template's packages cannot be had; a sentence."""


class TemplateEnvironments:
    """All of a supervisor's. ``base``: the directory that they are in; ``networks``: None with ``--isolation none``."""

    def __init__(self, base: Path, networks: Networks | None) -> None:
        self._base = base
        self._networks = networks
        self._held: dict[Path, int] = {}
        self._making: dict[Path, asyncio.Lock] = {}

    def __repr__(self) -> str:
        return f"<TemplateEnvironments {self._base} held={len(self._held)}>"

    async def take(self, spec: TemplateSpec) -> Path:
        """The prefix of the environment with a template's packages, which is made if it is not there. It stays until
        ``close``. Raises PackagesError, OSError.
        """
        if (networks := self._networks) is None:
            raise PackagesError(
                "packages of a template need --isolation namespaces; install them into its python instead."
            )
        parent = await _parent(spec.python)
        contents = {"python": spec.python, "packages": sorted(spec.packages), **parent}
        place = await self.made(contents, lambda place: _make(place, spec, contents, networks))
        return place / ENVIRONMENT

    async def made(self, contents: dict[str, Any], make: Make) -> Path:
        """The directory of what is made of this, by ``make`` if it is not there. It stays until ``close``. Raises what
        ``make`` does, OSError."""
        digest = hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
        place = self._base / digest[:32]  # short: it stands in the first line of its programs, which Linux limits
        async with self._making.setdefault(place, asyncio.Lock()):
            if place not in self._held:
                self._held[place] = await self._hold(place, contents, make)
        return place

    async def _hold(self, place: Path, contents: dict[str, Any], make: Make) -> int:
        """A lock that others may share, on a complete one. Of those who want to make it, the one who can lock it for
        himself does."""
        while True:
            for how in (fcntl.LOCK_SH, fcntl.LOCK_EX):
                lock = _lock(place, how)
                if lock is None:
                    continue
                try:
                    if how == fcntl.LOCK_EX and not (place / COMPLETE).exists():
                        await make(place)
                        (place / COMPLETE).write_text(json.dumps(contents, indent=1))
                    if (place / COMPLETE).exists():
                        fcntl.flock(lock, fcntl.LOCK_SH)
                        os.utime(place)
                        return lock
                except BaseException:
                    os.close(lock)
                    raise
                os.close(lock)
            await asyncio.sleep(LOOK_SECONDS)

    def sweep(self) -> None:
        """Remove those that no supervisor holds and none has for long. When all templates have taken theirs."""
        for place in self._base.glob("*"):
            if time.time() - place.stat().st_mtime > KEPT_SECONDS:
                lock = claimed_directory.lock_now(place)
                if lock is not None:
                    shutil.rmtree(place, ignore_errors=True)
                    os.close(lock)

    def close(self) -> None:
        """Let go of them."""
        while self._held:
            os.close(self._held.popitem()[1])


def _lock(place: Path, how: int) -> int | None:
    place.mkdir(parents=True, exist_ok=True)
    return claimed_directory.lock_now(place, how)


async def _parent(python: str) -> dict[str, Any]:
    """What is to be known of the interpreter that an environment is made on. Raises OSError."""
    process = await asyncio.create_subprocess_exec(
        python, "-I", "-c", PARENT, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise OSError(f"{python} does not run (exit code {process.returncode})")
    found: dict[str, Any] = json.loads(out)
    return found


async def _make(place: Path, spec: TemplateSpec, contents: dict[str, Any], networks: Networks) -> None:
    """In its place, since programs name their interpreter by its path. Raises PackagesError, OSError."""
    names = ", ".join(spec.packages)
    log.warning("Installing %s for the template %s ...", names, spec.name)
    prefix = place / ENVIRONMENT
    await asyncio.to_thread(shutil.rmtree, prefix, ignore_errors=True)  # somebody was killed here
    try:
        with networks.mirror_alone() as namespace:
            await _run([spec.python, "-I", "-m", "venv", "--without-pip", str(prefix)], place, namespace)
            _inherit(prefix, contents["places"])
            await _run([str(prefix / "bin/python"), *PIP, *spec.packages], place, namespace)
        _inherit_programs(prefix, Path(spec.python).parent)
    except PackagesError as error:
        shutil.rmtree(prefix, ignore_errors=True)
        raise PackagesError(f"{names} cannot be installed: {error}") from error
    log.warning("Installed %s for the template %s.", names, spec.name)


def _inherit(prefix: Path, places: Sequence[str]) -> None:
    """Let it import what the interpreter's environment has, after its own."""
    (own,) = prefix.glob("lib/python*/site-packages")
    added = "; ".join(f"site.addsitedir({place!r})" for place in places)
    (own / "podflare_nb_template.pth").write_text(f"import site; {added}\n")


def _inherit_programs(prefix: Path, programs: Path) -> None:
    """Let pip, pytest and the like of the interpreter's environment run in this one. Of one that is no virtual
    environment only pip: its directory may be the system's."""
    pattern = "*" if (programs.parent / "pyvenv.cfg").is_file() else "pip*"
    theirs, ours = os.fsencode(programs / "python"), os.fsencode(prefix / "bin/python")
    for path in programs.glob(pattern):
        target = prefix / "bin" / path.name
        if target.exists() or not path.is_file():
            continue
        with path.open("rb") as file:
            head = file.readline(4096) + file.readline(
                4096
            )  # the second, where a shell finds a long path's interpreter
            if head.startswith(b"#!") and theirs in head:
                target.write_bytes(head.replace(theirs, ours) + file.read())
                target.chmod(0o755)


async def _run(command: Sequence[str], directory: Path, namespace: int) -> None:
    """Run a program in a network namespace. Raises PackagesError, OSError."""
    with tempfile.TemporaryFile() as said:
        process = _start(command, directory, namespace, said)
        pidfd = os.pidfd_open(process.pid)
        try:
            async with asyncio.timeout(INSTALL_SECONDS):
                await readable(pidfd)
        except TimeoutError:
            raise PackagesError(f"it took longer than {INSTALL_SECONDS} seconds") from None
        finally:
            os.close(pidfd)
            process.kill()
            process.wait()
        if process.returncode:
            said.seek(max(0, said.seek(0, os.SEEK_END) - SAID_BYTES))
            words = said.read().decode(errors="replace").strip()
            log.error("%s", words)
            raise PackagesError(_reason(words) or f"exit code {process.returncode}")


def _start(command: Sequence[str], directory: Path, namespace: int, said: IO[bytes]) -> subprocess.Popen[bytes]:
    """Without anything of our environment. Not by asyncio: a child is born in the network that the thread is in, and
    nothing may be awaited there."""
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(directory), "PIP_CONFIG_FILE": os.devnull}
    with namespaces.entered(namespace):
        return subprocess.Popen(  # noqa: S603 - the operator's interpreter, checked requirements
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=directory, env=environment,
            start_new_session=True,
        )  # fmt: skip


def _reason(words: str) -> str:
    """The last of pip's errors, else the last line."""
    lines = words.splitlines() or [""]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines)[-1]
