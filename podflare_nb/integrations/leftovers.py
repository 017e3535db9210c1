"""Ends the sandboxes that adapters made for themselves and that nobody closed: with their tool, or with the process.

A tool is often written straight into a list of tools, where nothing closes it. What is missed here (a killed
process, a service that is away) ends at its idle timeout. Stands on the client; ``tool_sandbox`` stands on it.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from podflare_nb.client import GoneError, NotFoundError, PodflareError, Sandbox

if TYPE_CHECKING:
    from collections.abc import Hashable

_LAST_WAIT_SECONDS = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a sandbox is."""

    host: str
    api_key: str | None


class _Leftovers:
    """The sandboxes that were not closed yet, and the thread that ends those whose tool is gone."""

    def __init__(self) -> None:
        self.left: dict[str, _Place] = {}
        # The collector runs on any thread and at any point, inside of locks and of event loops: all that it may do
        # is to put something into such a queue.
        self._abandoned: SimpleQueue[str | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, owner: Hashable, sandbox_id: str, place: _Place) -> None:
        self.left[sandbox_id] = place
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="podflare_nb leftovers", daemon=True)
                self._thread.start()
        # At the end of the process all go in one place, and before the connections do.
        weakref.finalize(owner, self._abandoned.put, sandbox_id).atexit = False

    def end_all(self) -> None:
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._abandoned.put(None)
            thread.join(_LAST_WAIT_SECONDS)
        while self.left:
            _end(*self.left.popitem())

    def _run(self) -> None:
        while (sandbox_id := self._abandoned.get()) is not None:
            place = self.left.pop(sandbox_id, None)
            if place is not None:
                _end(sandbox_id, place)


_leftovers = _Leftovers()


def watch(owner: Hashable, sandbox_id: str, host: str, api_key: str | None) -> None:
    """End the sandbox when ``owner`` is collected or the process ends, whichever comes first."""
    _leftovers.watch(owner, sandbox_id, _Place(host, api_key))


def settled(sandbox_id: str) -> None:
    """Take note that a sandbox was closed, or is somebody else's to close."""
    _leftovers.left.pop(sandbox_id, None)


def end_all() -> None:
    """End every sandbox that is left, as the end of the process does."""
    _leftovers.end_all()


def _end(sandbox_id: str, place: _Place) -> None:
    try:
        Sandbox.connect(sandbox_id, host=place.host, api_key=place.api_key).close()
    except (GoneError, NotFoundError):
        return
    except PodflareError as error:
        _log.debug("%s was not closed and ends at its idle timeout: %s", sandbox_id, error.message)


def _forget_after_fork() -> None:
    """Begin anew in a forked child: the sandboxes are its parent's, and so is the thread."""
    global _leftovers  # noqa: PLW0603 - the parent may have held its locks when it forked
    _leftovers = _Leftovers()


os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(end_all)
