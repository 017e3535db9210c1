"""Parts a child of a live kernel from its parent's child processes: it could only harm them, and knows nothing of them.

A daemonic process of multiprocessing would be terminated when the child ends; its trackers would be written to. And
who waits for a process of ``subprocess`` that is somebody else's is told that it has ended well.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing.process
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

_LOKYS = ("loky", "joblib.externals.loky")
"""It has one executor for all callers, none of whom could get rid of it: its processes and pipes are the parent's."""
_left: list[object] = []
"""What would write to its processes if it were finalised."""
_waitid = os.waitid


def return_codes(pids: Iterable[int]) -> dict[int, int]:
    """In the parent: what its children are to believe of its child processes, by pid, as ``subprocess`` has it.

    One that has ended has its own return code; one that runs is gone for them, as if it had been killed.
    """
    codes = {}
    for pid in pids:
        codes[pid] = -signal.SIGKILL
        with contextlib.suppress(OSError):  # waited for meanwhile
            ended = _waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                codes[pid] = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    return codes


def forget_processes(codes: Mapping[int, int]) -> list[str]:
    """Forget them, in what is loaded of multiprocessing, loky and subprocess; a sentence if that was made into
    something else. ``codes``: of ``return_codes``."""
    try:
        _forget()
        if codes:
            _end(codes)
    except Exception as error:  # noqa: BLE001  # the user may have put anything in anything's place; told of
        return [f"The child may take its parent's child processes for its own: {type(error).__name__}."]
    return []


def _forget() -> None:
    multiprocessing.process._children.clear()  # type: ignore[attr-defined]  # noqa: SLF001  # as multiprocessing's own forks do
    for package in ("multiprocessing", *(f"{loky}.backend" for loky in _LOKYS)):
        tracker: Any = sys.modules.get(f"{package}.resource_tracker")
        if tracker is not None:  # the next use starts another
            tracker._resource_tracker._fd = tracker._resource_tracker._pid = None  # noqa: SLF001
    for loky in _LOKYS:
        reusable: Any = sys.modules.get(f"{loky}.reusable_executor")
        if reusable is not None:
            _left.append(reusable._executor)  # noqa: SLF001
            reusable._executor = None  # noqa: SLF001
    server: Any = sys.modules.get("multiprocessing.forkserver")
    if server is not None:
        fresh = server._forkserver  # noqa: SLF001
        fresh._forkserver_address = fresh._forkserver_alive_fd = fresh._forkserver_pid = None  # noqa: SLF001


def _end(codes: Mapping[int, int]) -> None:
    """Give each of them its return code: it is looked for nowhere any more, and no signal is sent to its number."""
    kinds = _with_subclasses(subprocess.Popen)
    for each in gc.get_referrers(*kinds):  # writes to no object, unlike a list of all there are: no page is copied
        if type(each) in kinds and each.returncode is None:
            each.returncode = codes.get(each.pid)


def _with_subclasses(kind: type) -> set[type]:
    return {kind}.union(*map(_with_subclasses, type.__subclasses__(kind)))
