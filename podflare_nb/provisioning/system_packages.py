"""System packages of templates (apt's): installed once, in a jail, and kept for later services as a disk of their own.

The jail is one like any sandbox's, made of the same directories of the host, and reaches the hosts of the host's apt
archives and nothing else. Packages' scripts run in it as they would in a sandbox. What they changed becomes a layer
(``jail.installed_layer``) that lies below every sandbox of the template, on a read-only disk that all of them have
mounted: it costs no sandbox space or time. The template itself runs outside of jails and does not see it.

What it is made of is hashed, as ``template_environments`` does, which keeps it: the host's own packages included, since
it lies over the host's /usr.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..protocol.egress import Egress
from .branches import Branch
from .jail import accounts, apt_sources, installed_layer
from .jail.disk import Disk, attach
from .jail.plan import WORKSPACE, Installed
from .jail_maker import JailMaker
from .supervised_terminal import SupervisedTerminal, TerminalOrder
from .template_environments import INSTALL_SECONDS, SAID_BYTES, PackagesError, TemplateEnvironments
from .templates import Template
from .waiting import readable

log = logging.getLogger(__name__)
IMAGE, TREES = "disk", "trees.json"
DPKG_STATUS = Path("/var/lib/dpkg/status")
DISK_MIB, INODES = 16_384, 500_000
"""Of the disk; what is not used of it takes no space."""
INSTALL = (
    "set -e; apt-get update -qq; apt-get install -y --no-install-recommends -- {names}; apt-get clean; ldconfig || true"
)
SIZE = (200, 50)
PLAIN = {"TERM": "dumb", "DEBIAN_FRONTEND": "noninteractive"}
READ_BYTES = 65_536


class SystemPackages:
    """``jails`` None: with ``--isolation none``. The disks are attached until the process ends."""

    def __init__(self, environments: TemplateEnvironments, jails: JailMaker | None) -> None:
        self._environments = environments
        self._jails = jails
        self._attached: dict[Path, tuple[Disk, Installed]] = {}

    def __repr__(self) -> str:
        return f"<SystemPackages attached={len(self._attached)}>"

    async def take(self, template: Template) -> Installed:
        """See ``templates.Installer``."""
        if (jails := self._jails) is None:
            raise PackagesError("packages of a template need --isolation namespaces; install them on this machine.")
        contents = await asyncio.to_thread(_contents, template)
        place = await self._environments.made(contents, lambda place: _make(place, template, jails))
        if place not in self._attached:
            keys = tuple(json.loads((place / TREES).read_text()))
            disk = attach(place / IMAGE, read_only=True)
            self._attached[place] = disk, Installed(disk.path, keys)
        return self._attached[place][1]


def _contents(template: Template) -> dict[str, Any]:
    """All that it is made of. Raises PackagesError."""
    if not DPKG_STATUS.is_file():
        names = ", ".join(template.spec.apt)
        raise PackagesError(f"{names} cannot be installed: this machine has no dpkg, whose packages these are.")
    return {
        "apt": sorted(template.spec.apt),
        "sources": template.sources,
        "archives": apt_sources.inside(),
        "accounts": [accounts.passwd(), accounts.group()],
        "dpkg": hashlib.sha256(DPKG_STATUS.read_bytes()).hexdigest(),
    }


async def _make(place: Path, template: Template, jails: JailMaker) -> None:
    """Raises PackagesError, PodflareError, OSError."""
    names = ", ".join(template.spec.apt)
    log.warning("Installing %s for the template %s ...", names, template.spec.name)
    image = place / IMAGE
    image.unlink(missing_ok=True)  # somebody was killed here
    try:
        keys = await _build(image, template, jails)
    except PackagesError as error:
        image.unlink(missing_ok=True)
        raise PackagesError(f"{names} cannot be installed: {error}") from error
    (place / TREES).write_text(json.dumps(keys))
    log.warning("Installed %s for the template %s.", names, template.spec.name)


async def _build(image: Path, template: Template, jails: JailMaker) -> list[str]:
    """Install them in a jail whose disk is this file; the keys of the trees that are on it then. Raises as _make."""
    limits = replace(template.spec.limits, disk_mib=DISK_MIB, inodes=INODES)
    archives = Egress.from_json({"allow": apt_sources.hosts()})
    branch = await jails.build(template.sources, limits, archives, image=image)
    try:
        await _install(template, branch)
        await branch.group.end()  # what packages have started
        plan = branch.jail.plan
        async with branch.jail.errand(lambda tell, _: tell({"keys": installed_layer.make(plan)}, ())) as errand:
            keys: list[str] = (await anext(errand)).body["keys"]
    finally:
        await branch.end()
    if not await branch.jail.let_go_of_disk():
        raise PackagesError("the disk that they were installed to stays mounted.")
    return keys


async def _install(template: Template, branch: Branch) -> None:
    networking = branch.jail.networking
    network = networking.environment if networking is not None else {}
    command = INSTALL.format(names=" ".join(map(shlex.quote, template.spec.apt)))
    terminal = SupervisedTerminal()
    order = TerminalOrder(
        ["bash", "-c", command], {**template.environment, **network, **PLAIN}, WORKSPACE, SIZE, branch
    )
    master = await terminal.start(template, order)
    if not isinstance(master, int):
        raise PackagesError(master.message)
    try:
        async with asyncio.timeout(INSTALL_SECONDS):
            words = await _listen(master)
            ended = await terminal.exited
    except TimeoutError:
        raise PackagesError(f"it took longer than {INSTALL_SECONDS} seconds") from None
    finally:
        os.close(master)
    if ended.exit_code:
        log.error("%s", words)
        raise PackagesError(_reason(words) or f"exit code {ended.exit_code}")


async def _listen(master: int) -> str:
    """The last that is said at a terminal, when nobody has it open any more."""
    said = b""
    while True:
        await readable(master)
        try:
            part = os.read(master, READ_BYTES)
        except BlockingIOError:
            continue
        except OSError:
            return said.decode(errors="replace").replace("\r\n", "\n").strip()
        said = (said + part)[-SAID_BYTES:]


def _reason(words: str) -> str:
    """The first of apt's errors, else the last line."""
    lines = words.splitlines() or [""]
    errors = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    return (errors[:1] or lines)[-1]
