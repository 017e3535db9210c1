"""The states after the last turns of one sandbox, each a sleeping branch: taken, kept, dropped, given for a rewind.

Bounded in number, the oldest goes first; one that ends by itself (memory short) is dropped, and why is remembered for
whoever asks for it. When one is due is ``sandbox``'s to say, what a rewind does with one ``branches``'.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import cast

from ..errors import ConflictError, NotFoundError, PodflareError
from ..provisioning.handle import KernelHandle, SleepingKernel
from ..provisioning.kernel_exit import KernelExit
from .background import BackgroundWork
from .waiting_line import Pause

log = logging.getLogger(__name__)

PAUSE_SECONDS = 30.0
"""How long a checkpoint waits for its sandbox's kernel to be quiet."""
FORK_SECONDS = 5.0
"""How long a checkpoint waits for code that another client of the kernel runs; then that turn has none."""
_KILL_SECONDS = 10.0
_MAX_REMEMBERED = 100


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after one turn."""

    turn_id: str
    at: datetime
    kernel: SleepingKernel


class Checkpoints:
    """The checkpoints of one sandbox; none at all with ``most`` 0. ``aclose`` it with the sandbox."""

    def __init__(self, most: int, clock: Callable[[], datetime]) -> None:
        self.most = most
        self._clock = clock
        self._kept: dict[str, Checkpoint] = {}
        self._lost: dict[str, str] = {}
        self._taking = BackgroundWork("taking checkpoints")
        self._dropping = BackgroundWork("dropping checkpoints")

    def __repr__(self) -> str:
        return f"<Checkpoints {len(self._kept)} of {self.most}, {self._taking!r}>"

    def all(self) -> list[Checkpoint]:
        """Those that are kept, oldest first."""
        return list(self._kept.values())

    def begin(self, turn_id: str, pause: Pause, kernel: Callable[[], KernelHandle]) -> None:
        """Keep the state after this turn as soon as the pause is granted, in the background."""
        self._taking.begin(self._take(turn_id, pause, kernel))

    async def settled(self) -> None:
        """Wait until those that were begun are taken."""
        await self._taking.settle()

    async def _take(self, turn_id: str, pause: Pause, kernel: Callable[[], KernelHandle]) -> None:
        """What fails is remembered, not raised: the turn itself went well."""
        try:
            await pause.wait(PAUSE_SECONDS)
            fork = await kernel().fork(1, wait_seconds=FORK_SECONDS, asleep=True)
        except PodflareError as error:
            log.info("The state after %s is not kept: %s", turn_id, error)
            self._lose(turn_id, f"The state after turn {turn_id} could not be kept: {error.message}")
            return
        finally:
            pause.release()
        self.keep(Checkpoint(turn_id, self._clock(), cast("SleepingKernel", child)) for child in fork.children)
        if not fork.children:
            why = fork.failures[0] if fork.failures else "it was refused."
            self._lose(turn_id, f"The state after turn {turn_id} could not be kept: {why}")

    def keep(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Keep these as the newest, in their order; what is too many is dropped from the oldest on."""
        for checkpoint in checkpoints:
            self._drop(self._kept.pop(checkpoint.turn_id, None))
            self._lost.pop(checkpoint.turn_id, None)
            self._kept[checkpoint.turn_id] = checkpoint
            checkpoint.kernel.exited.add_done_callback(partial(self._ended, checkpoint))
        while len(self._kept) > self.most:
            self._drop(self._kept.pop(next(iter(self._kept))))

    def find(self, turn_id: str) -> Checkpoint:
        """Find the state after a turn. Raises ConflictError if none are kept here at all, NotFoundError."""
        if not self.most:
            raise ConflictError(
                "This sandbox keeps no states of earlier turns. Create one with checkpoints, "
                'as in {"checkpoints": 5}, to rewind it.'
            )
        if (checkpoint := self._kept.get(turn_id)) is not None:
            return checkpoint
        known = ", ".join(self._kept) or "none yet"
        why = self._lost.get(turn_id, f"No state after a turn {turn_id!r} is kept.")
        raise NotFoundError(f"{why} The turns to rewind to are: {known}.", turns=list(self._kept))

    def part(self, after: Checkpoint) -> list[Checkpoint]:
        """Give away those that are younger than this one."""
        younger = [checkpoint for checkpoint in self._kept.values() if checkpoint.at > after.at]
        return [self._kept.pop(checkpoint.turn_id) for checkpoint in younger]

    async def aclose(self) -> None:
        """Drop all, those that are being taken, too. For the end of the sandbox, whose kernel is dead. Idempotent."""
        await self._taking.settle()
        while self._kept:
            self._drop(self._kept.popitem()[1])
        await self._dropping.settle()

    def _drop(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None:
            self._dropping.begin(_kill(checkpoint))

    def _ended(self, checkpoint: Checkpoint, exited: asyncio.Future[KernelExit]) -> None:
        if self._kept.get(checkpoint.turn_id) is checkpoint:
            del self._kept[checkpoint.turn_id]
            why = "" if exited.cancelled() else f": {exited.result().message}"
            self._lose(checkpoint.turn_id, f"The state after turn {checkpoint.turn_id} is lost{why or '.'}")
            self._drop(checkpoint)

    def _lose(self, turn_id: str, sentence: str) -> None:
        self._lost[turn_id] = sentence
        while len(self._lost) > _MAX_REMEMBERED:
            del self._lost[next(iter(self._lost))]


async def _kill(checkpoint: Checkpoint) -> None:
    try:
        async with asyncio.timeout(_KILL_SECONDS):
            await checkpoint.kernel.kill()
    except (TimeoutError, PodflareError):
        log.exception("The checkpoint of %s could not be ended", checkpoint.turn_id)
