"""Runs a cell's shell commands: ``%%bash``, ``%%sh`` and ``!``, as a plain subprocess would run.

The command inherits the kernel's captured descriptors 1 and 2, so its output shows as it is produced, streams in
order of arrival, and a program that it leaves in the background goes on writing. IPython's own ways go through an
event loop in a thread (10 ms) or a terminal (a prompt would wait for ever); here stdin is /dev/null. When the user
has redirected ``sys.stdout`` (``%%capture``), pipes are read into what stands there instead.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence

MAX_ARGUMENT = 100_000
"""Bytes; Linux takes 128 KiB in one argument. A longer script goes through a file in memory."""
GRACE_SECONDS = 1.0
"""How long an interrupted command may take to end by itself. Less than the service waits before it kills the kernel
(``sandboxes.settings``), with all variables: of the two the command goes first."""


def run_script(shell: str, script: str, *, captured: bool) -> int:
    """Run a script; its return code as subprocess gives it. ``captured``: sys.stdout leads to descriptor 1."""
    encoded = script.encode("utf-8", "surrogateescape")
    if len(encoded) <= MAX_ARGUMENT:
        return run([shell, "-c", encoded], captured=captured)
    memory = os.memfd_create("script", os.MFD_CLOEXEC)
    with os.fdopen(memory, "wb") as file:
        file.write(encoded)
        file.flush()
        return run([shell, f"/dev/fd/{memory}"], captured=captured, pass_fds=(memory,))


def run(argv: Sequence[str | bytes], *, captured: bool, pass_fds: Sequence[int] = ()) -> int:
    """Run a command in a process group of its own, which an interrupt ends as a whole."""
    pipe = None if captured else subprocess.PIPE
    process = subprocess.Popen(  # noqa: S603  # running what the tenant wrote is the kernel's purpose; the jail holds it
        argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, process_group=0, pass_fds=pass_fds
    )
    try:
        if not captured:
            _copy(process)
        return process.wait()
    except KeyboardInterrupt:
        _end(process)
        raise
    finally:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # it takes no interrupt: killed below
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _copy(process: subprocess.Popen[bytes]) -> None:
    """Copy both pipes to sys.stdout and sys.stderr until the command has ended and nothing is left in them."""
    with selectors.DefaultSelector() as selector:
        for source, sink in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
            if source is not None:
                decoder = codecs.getincrementaldecoder("utf-8")("replace")
                selector.register(source, selectors.EVENT_READ, (sink, decoder))
        while selector.get_map():
            ended = process.poll() is not None
            ready = selector.select(0 if ended else 0.05)
            if ended and not ready:
                return  # what it left in the background keeps the pipe open: not ours to wait for
            for key, _ in ready:
                _copy_some(selector, key)


def _copy_some(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    sink, decoder = key.data
    data = os.read(key.fd, 1 << 16)
    sink.write(decoder.decode(data, final=not data))
    if not data:
        selector.unregister(key.fileobj)
