# Generated from podflare_nb/client/_async by scripts/generate_sync_client.py: change it there.
# ruff: noqa: C416, RUF100, SIM117, UP028 - loops and ignores are as the asynchronous original needs them
"""Talking to the agent of a sandbox: a turn as a whole or as its events, resumed when the stream is lost."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Literal

from podflare_nb.client.errors import ConnectionLostError, ServiceUnreachableError, StreamBrokenError
from podflare_nb.client.events import ChatEvent, events_of
from podflare_nb.client.paths import url_segment
from podflare_nb.client.turns import TURN_ENDS, Turn, TurnCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from typing import Any

    from podflare_nb.client._sync.calls import Calls

RESUMES = 8
"""How often in a row a turn's stream is asked for again without a new event coming."""
_LONGEST_PAUSE_SECONDS = 5.0


class Conversation:
    """The part of a sandbox that talks. Every turn becomes cells of the sandbox's notebook."""

    _calls: Calls

    def chat(  # noqa: PLR0913 - each is a field of the request
        self,
        message: str,
        model: str | None = None,
        *,
        max_steps: int | None = None,
        max_tokens: int | None = None,
        timeout_seconds: int | None = None,
        on_text: Callable[[str], object] | None = None,
        on_event: Callable[[ChatEvent], object] | None = None,
        on_approval: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> Turn:
        """Send a message to the agent, let it work in the live kernel and give the whole turn.

        ``model`` is ``provider:name`` or ``direct``; the callbacks get the agent's text and the events as they
        come. ``on_approval`` is asked before each run of code, with its source and language: True lets it run.
        A turn that ends badly (``status``, ``error``) is a result and not an error.
        """
        collector = TurnCollector(on_text)
        stream = self.chat_stream(
            message,
            model,
            max_steps=max_steps,
            max_tokens=max_tokens,
            timeout_seconds=timeout_seconds,
            approve="ask" if on_approval else None,
        )
        with closing(stream) as events:
            for event in events:
                collector.add(event)
                if on_event:
                    on_event(event)
                if event.type == "approval-request" and on_approval:
                    approved = on_approval(event.data)
                    self.approve(collector.turn.id, event.data["tool_call_id"], approved=approved)
        return collector.turn

    def chat_stream(  # noqa: PLR0913 - each is a field of the request
        self,
        message: str,
        model: str | None = None,
        *,
        max_steps: int | None = None,
        max_tokens: int | None = None,
        timeout_seconds: int | None = None,
        approve: Literal["auto", "ask"] | None = None,
    ) -> Generator[ChatEvent]:
        """Send a message and give the turn's events as they come, each exactly once; the last is turn-end.

        A lost connection is taken up again after the last event. Leaving the stream does not stop the turn:
        ``cancel`` does. With ``approve="ask"`` answer each approval-request with ``approve``.
        """
        body = {
            "message": message,
            "model": model,
            "max_steps": max_steps,
            "max_tokens": max_tokens,
            "timeout_seconds": timeout_seconds,
            "approve": approve,
        }
        turn_id: str | None = None
        seq = -1
        ended = False
        why = "The stream of the turn ended before its first event; whether the turn runs, turns() tells."
        try:
            with closing(self._calls.line_groups("POST", "/chat", body)) as groups:
                for group in groups:
                    for event in events_of(group, ChatEvent):
                        if event.type == "turn-start":
                            turn_id = event.data["turn_id"]
                        seq, ended = event.seq, event.type == TURN_ENDS
                        yield event
        except StreamBrokenError as error:
            why = error.message
        if ended:
            return
        if turn_id is None:
            raise StreamBrokenError(why, sandbox_id=self._calls.sandbox_id)
        with closing(self.follow(turn_id, after=seq)) as rest:
            for event in rest:
                yield event

    def follow(self, turn_id: str, *, after: int = -1) -> Generator[ChatEvent]:
        """Give the events of a turn whose seq is above ``after``: the past ones, then live ones to its end.

        A lost connection is taken up again, ``RESUMES`` times in a row; then StreamBrokenError is raised.
        """
        path = f"/chat/{url_segment(turn_id)}/events"
        seq = after
        received = failures = 0
        while True:
            why = "its stream ended without a turn-end"
            try:
                with closing(self._calls.line_groups("GET", path, params={"after": seq})) as groups:
                    for group in groups:
                        for event in events_of(group, ChatEvent):
                            seq, failures = event.seq, 0
                            received += 1
                            yield event
                            if event.type == TURN_ENDS:
                                return
            except (ConnectionLostError, ServiceUnreachableError) as error:
                why = error.message
            failures += 1
            if failures > RESUMES:
                raise StreamBrokenError(
                    f"The turn {turn_id} could not be followed any more: {why} It may still run; follow() takes "
                    "it up again.",
                    events_received=received,
                    last_seq=seq if seq >= 0 else None,
                    sandbox_id=self._calls.sandbox_id,
                )
            time.sleep(min(0.05 * 2**failures, _LONGEST_PAUSE_SECONDS))

    def turns(self) -> list[Turn]:
        """List the turns of this sandbox, oldest first, without their cells: those are in the notebook."""
        answer = self._calls.call("GET", "/chat")
        return [Turn.from_json(one) for one in answer["turns"]]

    def cancel(self, turn_id: str) -> None:
        """Stop a turn: the agent, and the code that it runs."""
        self._calls.call("POST", f"/chat/{url_segment(turn_id)}/cancel", {})

    def approve(self, turn_id: str, tool_call_id: str, *, approved: bool = True) -> None:
        """Answer an approval-request: let the code run, or not."""
        body = {"tool_call_id": tool_call_id, "approved": approved}
        self._calls.call("POST", f"/chat/{url_segment(turn_id)}/approve", body)
