"""Generate the synchronous client from the asynchronous one: ``podflare_nb/client/_async`` into ``_sync``.

``--check`` writes nothing and exits 1 when the generated files are not current; CI calls it so. unasync swaps
the words of asynchronous Python, the table below swaps ours, ruff formats.
"""

# ruff: noqa: INP001 - a script of its own, not a module of a package

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import unasync

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "podflare_nb" / "client" / "_async"
TARGET = ROOT / "podflare_nb" / "client" / "_sync"

WORDS = {
    "AsyncAnswer": "Answer",
    "AsyncBaseTransport": "BaseTransport",
    "AsyncBranching": "Branching",
    "AsyncCalls": "Calls",
    "AsyncClient": "Client",
    "AsyncConnection": "Connection",
    "AsyncConversation": "Conversation",
    "AsyncExecution": "Execution",
    "AsyncFiles": "Files",
    "AsyncFork": "Fork",
    "AsyncPackages": "Packages",
    "AsyncPorts": "Ports",
    "AsyncNetwork": "Network",
    "AsyncSandbox": "Sandbox",
    "AsyncTerminal": "Terminal",
    "AsyncTerminalOutput": "TerminalOutput",
    "AsyncTerminals": "Terminals",
    "AsyncTranscript": "Transcript",
    "AsyncTransport": "Transport",
    "StartsWhenAwaited": "StartsAtOnce",
    "_async": "_sync",
    "aclose": "close",
    "aclosing": "closing",
    "acquire_async": "acquire",
    # The only use of asyncio there is its sleep.
    "asyncio": "time",
    "async_pools": "pools",
    "beside_loop": "in_place",
    "in_thread": "in_place",
    "release_async": "release",
}

PHRASES = [
    # Docstrings and messages, which unasync leaves alone.
    (re.compile(r"`await AsyncSandbox\("), "`Sandbox("),
    (re.compile(r"\bAsync(?=Sandbox|Client)"), ""),
    (re.compile(r"sandbox = await Sandbox"), "sandbox = Sandbox"),
    (re.compile(r"\basync with\b"), "with"),
    (
        re.compile(r"^\"\"\"The client, written once: the asynchronous one\..*$", re.MULTILINE),
        '"""The synchronous client, generated from ``_async`` by scripts/generate_sync_client.py."""',
    ),
]

HEADER = """\
# Generated from podflare_nb/client/_async by scripts/generate_sync_client.py: change it there.
# ruff: noqa: C416, RUF100, SIM117, UP028 - loops and ignores are as the asynchronous original needs them
"""

# Whether a module is ours is not to depend on which generated files are there already.
OURS = 'lint.isort.known-first-party = ["podflare_nb"]'


def generate() -> dict[str, str]:
    """Give the text of every generated file, by name."""
    generated = {}
    with tempfile.TemporaryDirectory() as scratch:
        inside = Path(scratch)
        rule = unasync.Rule(fromdir="/_async/", todir="/_sync/", additional_replacements=WORDS)
        (inside / "_async").mkdir()
        for file in sorted(SOURCE.glob("*.py")):
            (inside / "_async" / file.name).write_bytes(file.read_bytes())
        unasync.unasync_files([str(file) for file in (inside / "_async").glob("*.py")], [rule])
        for file in sorted((inside / "_sync").glob("*.py")):
            text = file.read_text(encoding="utf-8")
            for phrase, replacement in PHRASES:
                text = phrase.sub(replacement, text)
            generated[file.name] = _formatted(HEADER + text, file.name)
    return generated


def _formatted(text: str, name: str) -> str:
    """Sort the imports, which have other names now, and lay the lines out anew."""
    sort = ["check", "--config", OURS, "--select", "I", "--fix", "--exit-zero", "--quiet"]
    for arguments in (sort, ["format"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(TARGET / name), "-"]
        text = subprocess.run(  # noqa: S603 - our own linter on our own text
            command, input=text, capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
    return text


def main() -> int:
    """Write the files, or with ``--check`` name those that are not current."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything would change")
    check = parser.parse_args().check
    generated = generate()
    present = {file.name: file.read_text(encoding="utf-8") for file in TARGET.glob("*.py")}
    stale = sorted(name for name in generated.keys() | present.keys() if generated.get(name) != present.get(name))
    if check:
        for name in stale:
            sys.stdout.write(
                f"podflare_nb/client/_sync/{name} is not current: run python scripts/generate_sync_client.py\n"
            )
        return 1 if stale else 0
    TARGET.mkdir(exist_ok=True)
    for name in stale:
        if name in generated:
            (TARGET / name).write_text(generated[name], encoding="utf-8")
        else:
            (TARGET / name).unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
