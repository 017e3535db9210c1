"""Running code in a sandbox: the whole result at once, or its events as they come."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from podflare_nb.client.errors import StreamBrokenError
from podflare_nb.client.events import Event, events_of
from podflare_nb.client.results import ExecResult, ResultCollector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from podflare_nb.client._async.calls import AsyncCalls
    from podflare_nb.client.results import Result

Language = Literal["python", "bash"]


class AsyncExecution:
    """The part of a sandbox that runs code. State survives between calls, as in a notebook."""

    _calls: AsyncCalls

    async def run_code(  # noqa: PLR0913 - each is a field of the request
        self,
        code: str,
        language: Language = "python",
        *,
        timeout_seconds: float | None = None,
        on_stdout: Callable[[str], object] | None = None,
        on_stderr: Callable[[str], object] | None = None,
        on_result: Callable[[Result], object] | None = None,
        turn_id: str | None = None,
        tool_call_id: str | None = None,
        operator: str | None = None,
        model: str | None = None,
    ) -> ExecResult:
        """Run code and give what came out of it. Code that fails is a result with ``ok`` False, not an error.

        ``timeout_seconds`` interrupts the code; the callbacks are called with each line and each rich result as
        it comes. ``turn_id``, ``tool_call_id``, ``operator`` (which agent) and ``model`` (``provider:name``) are
        written into the notebook. Raises StreamBrokenError, with what came so far, when the connection is lost; code is
        never sent twice.
        """
        collector = ResultCollector(on_stdout, on_stderr, on_result)
        stream = self.run_code_stream(
            code,
            language,
            timeout_seconds=timeout_seconds,
            turn_id=turn_id,
            tool_call_id=tool_call_id,
            operator=operator,
            model=model,
        )
        result: ExecResult | None = None
        try:
            async with aclosing(stream) as events:
                async for event in events:
                    result = collector.add(event) or result
        except StreamBrokenError as error:
            error.stdout, error.stderr, error.results = collector.stdout, collector.stderr, collector.results
            raise
        if result is None:
            # run_code_stream gives an exit or raises.
            raise AssertionError("the stream ended well without an exit")
        return result

    def run_code_stream(  # noqa: PLR0913 - each is a field of the request
        self,
        code: str,
        language: Language = "python",
        *,
        timeout_seconds: float | None = None,
        turn_id: str | None = None,
        tool_call_id: str | None = None,
        operator: str | None = None,
        model: str | None = None,
    ) -> AsyncGenerator[Event]:
        """Run code and give its events as they come; the last is the exit. Closing the generator interrupts it."""
        body = {
            "code": code,
            "language": language,
            "timeout_seconds": timeout_seconds,
            "turn_id": turn_id,
            "tool_call_id": tool_call_id,
            "operator": operator,
            "model": model,
        }
        return self._events_to_exit("/exec", body)

    async def _events_to_exit(self, path: str, body: dict[str, Any]) -> AsyncGenerator[Event]:
        """Give the events of a call that runs code; the last is the exit. Raises StreamBrokenError."""
        received = 0
        last: Event | None = None
        try:
            async with aclosing(self._calls.line_groups("POST", path, body)) as groups:
                async for group in groups:
                    for event in events_of(group, Event):
                        if event.seq < 0:
                            raise self._broken(_told(event), received, last, may_still_run=False)
                        last = event
                        received += 1
                        yield event
        except StreamBrokenError as error:
            # Behind an exit nothing is missing.
            if last is None or last.type != "exit":
                raise self._broken(error.message, received, last, may_still_run=error.may_still_run) from error
        if last is None or last.type != "exit":
            raise self._broken("The stream ended without an exit.", received, last, may_still_run=False)

    async def replay(self) -> list[Event]:
        """Give the last events (1000 at most) of what ran in this sandbox."""
        async with aclosing(self._calls.line_groups("GET", "/replay")) as groups:
            return [event async for group in groups for event in events_of(group, Event)]

    async def interrupt(self) -> None:
        """Stop the code that runs now, as Ctrl-C does. Does nothing when none runs."""
        await self._calls.call("POST", "/interrupt", {})

    def _broken(self, message: str, received: int, last: Event | None, *, may_still_run: bool) -> StreamBrokenError:
        running = "it may still run" if may_still_run else "it runs no more"
        return StreamBrokenError(
            f"{message} {received} events had come; how the code ended is not known, {running}.",
            events_received=received,
            last_seq=last.seq if last else None,
            may_still_run=may_still_run,
            sandbox_id=self._calls.sandbox_id,
        )


def _told(event: Event) -> str:
    """What the service said of its own failure in the middle of a stream."""
    said = event.data.get("message") if isinstance(event.data, dict) else None
    return str(said or "The service failed in the middle of the stream.")
