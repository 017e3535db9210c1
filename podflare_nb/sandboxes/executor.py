"""Runs a sandbox's executions, one at a time: queue, deadline, interrupt, the kernel's death, the end.

Takes requests from ``sandbox`` and messages from ``kernel_connection``; gives every output first to the observer,
then to the replay, then to the execution's reader. What must end is ``run_watch``'s to end; when a kernel dies,
``kernel_keeper`` brings the next one. Executions of other clients of the kernel are ``visitors``' to follow.
"""

import signal
from collections.abc import Callable
from datetime import datetime

from ..errors import ConflictError, PodflareError
from ..provisioning.kernel_exit import KernelExit
from .activity import Activity
from .execution import Execution, ExecutionObserver, ExecutionRequest, ExecutionResult, Notice, Output
from .kernel_keeper import KernelKeeper
from .messages import MalformedError, Received
from .network_log import Connection
from .outcome import DIED, INTERRUPTED
from .outputs import OutputTally
from .replay import Replay
from .run import Run
from .run_watch import RunWatch
from .settings import ExecutionSettings
from .visitors import Visitors
from .waiting_line import Pause, WaitingLine

_TIMED_OUT = (
    "The time was up and the code did not stop when it was interrupted: its kernel was replaced. "
    "Files are kept, variables are lost."
)
_CANCELLED = (
    "The code did not stop when it was interrupted: its kernel was replaced. Files are kept, variables are lost."
)


class Executor:
    """The queue of one sandbox. Bounded: beyond ``max_queued`` a request is refused."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        keeper: KernelKeeper,
        activity: Activity,
        observer: ExecutionObserver,
        settings: ExecutionSettings,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        turn_ended: Callable[[str], object],
    ) -> None:
        self.replay = Replay(settings.replay_events, settings.replay_bytes)
        self.refused = 0
        """Messages whose content could not be used."""
        self._keeper, self._activity, self._observer, self._settings = keeper, activity, observer, settings
        self._clock, self._new_id, self._turn_ended = clock, new_id, turn_ended
        self._line = WaitingLine()
        self._current: Execution | None = None
        self._run: Run | None = None
        self._msg_id = ""
        self._watch: RunWatch | None = None
        self._notices: list[Notice] = []
        self._visitors = Visitors(observer, settings.output, clock, new_id)
        self._busy = False

    def __repr__(self) -> str:
        return f"<Executor current={self._current!r} {self._line!r}>"

    def submit(self, request: ExecutionRequest) -> Execution:
        """Queue an execution; it starts at once when nothing else runs. Raises ConflictError when too many wait."""
        if len(self._line) >= self._settings.max_queued:
            raise ConflictError(
                f"{len(self._line)} executions wait in this sandbox already. Wait until some have ended, "
                "or use another sandbox."
            )
        execution = Execution(request, request.cell_id or self._new_id(), self._cancel)
        self._line.join(execution)
        if not self._busy:
            self._busy = True
            self._activity.take("work_began")
        self._advance()
        return execution

    def pause(self, *, first: bool) -> Pause:
        """Want the kernel quiet, before every execution that waits or (not ``first``) behind them."""
        pause = Pause(self._line, self._advance, is_busy=lambda: self._run is not None or len(self._line) > 0)
        self._line.join_pause(pause, first=first)
        self._advance()
        return pause

    async def interrupt(self) -> None:
        """Interrupt what runs now, by whichever client, or is about to; nothing if nothing is.

        Whoever sent code may interrupt it at once: what waits for the kernel is taken out of the line, and what the
        kernel has not begun is interrupted when it begins.
        """
        run, waiting = self._run, self._line.first()
        if self._visitors.running and (run is None or not run.begun):
            await self._keeper.handle.send_signal(signal.SIGINT)
        elif run is not None and self._watch is not None:
            if run.cause is None:
                run.cause = "interrupt"
            if run.begun:
                await self._keeper.handle.send_signal(signal.SIGINT)
            else:
                self._watch.interrupt_when_begun()
        elif waiting is not None:
            self._cancel(waiting)
        else:  # a task that an earlier cell left may be at work
            await self._keeper.handle.send_signal(signal.SIGINT)

    def close(self, message: str, reason: PodflareError) -> None:
        """End what runs and what waits; ``message`` tells why, and pauses that wait raise ``reason``."""
        waiting = self._line.close(reason)
        if self._run is not None:
            self._finish(self._run.died(message))
        for execution in waiting:
            ended = ExecutionResult("died", DIED, None, message, state_preserved=False)
            execution.finish(_milliseconds(self._clock()), ended)
        self._visitors.close(message)

    def network_refused(self, connection: Connection) -> None:
        """What runs now was refused a connection, most likely: let its reader know why."""
        if self._current is not None and self._current.refused_connection(connection.notice()):
            stamp = _milliseconds(self._clock())
            event = {
                "output_type": "network", "verdict": connection.verdict, "protocol": connection.protocol,
                "host": connection.host, "port": connection.port, "reason": connection.reason,
            }  # fmt: skip
            self.replay.output(event, stamp)
            self._current.put(stamp, event)

    # What the keeper tells.

    def kernel_ready(self) -> None:
        """Start what waits. What other clients ran ended with the kernel before."""
        self._visitors.close("The kernel was replaced while this ran.")
        self._advance()

    def kernel_said(self, message: Received) -> None:
        """Give it to the run that it belongs to."""
        run = self._run
        try:
            if run is not None and message.parent_id == self._msg_id:
                self._said(run, message)
            elif self._visitors.said(message):
                self._activity.was_used()
            elif run is not None and message.kind in ("stream", "update_display_data"):
                # A thread of an earlier cell prints: where people look now is the cell that runs.
                self._said(run, message)
        except MalformedError:
            self.refused += 1

    def kernel_replied(self, message: Received) -> None:
        """The reply of the run, or of a probe that nobody waits for."""
        run = self._run
        if run is None or message.parent_id != self._msg_id:
            return
        now = self._clock()
        try:
            for page in run.reply(message, now):
                self._pass_on(page, now)
        except MalformedError:
            self.refused += 1
        if run.done:
            self._finish(run.result())
        elif self._watch is not None:
            self._watch.replied()

    def kernel_died(self, ending: KernelExit) -> None:
        """End what ran; what waits goes on with the next kernel, told of the loss."""
        message = ending.message
        if self._run is not None and self._run.cause == "timeout":
            message = _TIMED_OUT
        elif self._run is not None and self._run.cause == "cancel":
            message = _CANCELLED
        self._notices = [Notice("kernel_restarted", f"{message} A new kernel has taken its place.")]
        self._visitors.close(message)
        if self._run is not None:
            self._finish(self._run.died(message))

    def _said(self, run: Run, message: Received) -> None:
        now = self._clock()
        output = run.said(message, now)
        if run.begun and self._watch is not None:
            self._watch.began()
        if output is not None:
            self._pass_on(output, now)
        elif run.done:
            self._finish(run.result())

    def _pass_on(self, output: Output, now: datetime) -> None:
        if (execution := self._current) is not None:
            stamp = _milliseconds(now)
            self._observer.execution_output(execution.cell_id, output)
            self.replay.output(output, stamp)
            execution.put(stamp, output)

    def _advance(self) -> None:
        if self._run is not None or not self._keeper.ready:
            return
        execution = self._line.next()
        if execution is None:
            if self._busy and not len(self._line):
                self._busy = False
                self._activity.take("work_ended")
            return
        self._current = execution
        run = Run(execution.cell_id, execution.request.language, OutputTally(self._settings.output))
        self._run = run
        self._watch = RunWatch(run, self._keeper, self._settings, self._fell_silent, lambda: self._visitors.running)
        execution.notices, self._notices = tuple(self._notices), []
        self._observer.execution_started(execution.cell_id, execution.request, execution.source)
        execution.begun = _milliseconds(self._clock())
        self.replay.started(execution)
        self._msg_id = self._keeper.execute(execution.source)
        if execution.request.timeout_seconds is not None:
            self._watch.deadline(execution.request.timeout_seconds)

    def _finish(self, result: ExecutionResult) -> None:
        self._keeper.handle.network.catch_up()
        execution, self._current, self._run, self._msg_id = self._current, None, None, ""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if execution is not None:
            self._observer.execution_ended(execution.cell_id, result)
            stamp = _milliseconds(self._clock())
            self.replay.ended(result, stamp)
            execution.finish(stamp, result)
            turn_id = execution.request.provenance.turn_id
            if execution.request.ends_turn and turn_id is not None:
                self._turn_ended(turn_id)
        self._advance()

    def _cancel(self, execution: Execution) -> None:
        if execution is self._current and self._watch is not None:
            self._watch.stop("cancel")
        elif self._line.leave(execution):
            ended = ExecutionResult("interrupted", INTERRUPTED, None, "It was cancelled before it began.")
            execution.finish(_milliseconds(self._clock()), ended)
            self._advance()

    def _fell_silent(self) -> None:
        if self._run is not None:
            self._finish(self._run.result(complete=False))


def _milliseconds(moment: datetime) -> int:
    """Since the epoch, as events have it."""
    return int(moment.timestamp() * 1000)
