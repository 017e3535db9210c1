"""Makes a child of a live kernel forget its parent's child processes: it could only harm them.

A daemonic process of multiprocessing would be terminated when the child ends; its trackers would be written to.
"""

from __future__ import annotations

import multiprocessing.process
import sys
from typing import Any


def forget_processes() -> list[str]:
    """Forget them, in what is loaded of multiprocessing; a sentence if that was made into something else."""
    try:
        _forget()
    except Exception as error:  # noqa: BLE001  # the user may have put anything in anything's place; told of
        return [f"The child may take its parent's child processes for its own: {type(error).__name__}."]
    return []


def _forget() -> None:
    multiprocessing.process._children.clear()  # type: ignore[attr-defined]  # noqa: SLF001  # as multiprocessing's own forks do
    tracker: Any = sys.modules.get("multiprocessing.resource_tracker")
    if tracker is not None:
        tracker._resource_tracker._fd = tracker._resource_tracker._pid = None  # noqa: SLF001  # the next use starts another
    server: Any = sys.modules.get("multiprocessing.forkserver")
    if server is not None:
        fresh = server._forkserver  # noqa: SLF001
        fresh._forkserver_address = fresh._forkserver_alive_fd = fresh._forkserver_pid = None  # noqa: SLF001
