"""When a transcript's .ipynb is brought up to date, and when memory and descriptors are given back.

The file follows a change within a second, in the store's one worker thread (a notebook that takes long to write
is written less often: a tenth of the time at most); a minute after the last change the folded notebook is
dropped, and the journal is closed unless something runs. Below are ``projection`` and
``journal``; ``transcript`` tells it of every record.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from time import monotonic

from .journal import Journal, sync
from .projection import Projection

log = logging.getLogger(__name__)

REFRESH_SECONDS = 0.5
REST_SECONDS = 60.0
SHARE = 9.0
"""How much longer than it took to write the file it is left alone."""


class Upkeep:
    """The upkeep of one transcript, on the event loop; without a loop only readers make the file."""

    def __init__(self, journal: Journal, projection: Projection, worker: Executor, is_idle: Callable[[], bool]) -> None:
        self._journal = journal
        self._projection = projection
        self._worker = worker
        self._is_idle = is_idle
        self._took = 0.0
        self._refreshing: asyncio.TimerHandle | None = None
        self._resting: asyncio.TimerHandle | None = None

    def changed(self) -> None:
        """Bring the file up to date soon."""
        if self._refreshing is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no event loop: see the class
        self._refreshing = loop.call_later(max(REFRESH_SECONDS, SHARE * self._took), self._refresh, loop)

    def inherited(self) -> None:
        """Give what a branch has of its parent back after a while; its file is made when it has more than that."""
        with contextlib.suppress(RuntimeError):  # no event loop: see the class
            self._rest_later(asyncio.get_running_loop())

    def sync(self) -> None:
        """Make what was written durable, in the worker thread."""
        if (fd := self._journal.sync_job()) is not None:
            self._worker.submit(sync, fd)

    def finish(self, *, write_file: bool) -> Future[None]:
        """Make the journal durable and the file final, and give everything back; the future tells when."""
        self.stop()
        finishing = self._worker.submit(self._finish, self._journal.sync_job(), write_file)
        self._journal.release()
        return finishing

    def stop(self) -> None:
        """Do nothing more by itself."""
        for timer in (self._refreshing, self._resting):
            if timer is not None:
                timer.cancel()
        self._refreshing = self._resting = None

    def _refresh(self, loop: asyncio.AbstractEventLoop) -> None:
        self._refreshing = None
        self._worker.submit(self._update_file)
        self._rest_later(loop)

    def _rest_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._resting is not None:
            self._resting.cancel()
        self._resting = loop.call_later(REST_SECONDS, self._rest)

    def _rest(self) -> None:
        self._resting = None
        self._worker.submit(self._projection.forget)
        if self._is_idle():
            self._journal.release()

    def _finish(self, fd: int | None, write_file: bool) -> None:  # noqa: FBT001  # the worker takes no keywords
        if fd is not None:
            sync(fd)
        if write_file:
            self._update_file()
        self._projection.forget()

    def _update_file(self) -> None:
        began = monotonic()
        try:
            self._projection.update_file()
        except Exception:  # a defect here is logged; it must not keep a sandbox from closing
            log.exception("The notebook of %r could not be made.", self._projection)
        self._took = monotonic() - began
