"""The sandbox behind a tool: the one it was given, or one of its own, made at the first call and ended with the tool.

Frameworks call a tool from any thread and from event loops that come and go, and seldom close it. So a sandbox of
its own is made once, under a lock; each loop reaches it by its id; no connection of a loop stays open between
calls; and ``leftovers`` ends what nobody closes. Like ``code_tool``, whose pieces it puts together, a call raises
nothing that a model or a sandbox can cause. The adapters stand on it and add their framework's types.
"""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from podflare_nb.client import (
    AsyncClient,
    AsyncSandbox,
    GoneError,
    NotFoundError,
    NotOpenError,
    PodflareError,
    Sandbox,
)

from . import leftovers
from .code_tool import (
    DEFAULT_LIMIT,
    DEFAULT_SECONDS,
    Provenance,
    ToolOutcome,
    code_call,
    failure_outcome,
    record,
    record_async,
    result_outcome,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from podflare_nb.client import ExecResult

_LONGEST_NAME = 200
_MODEL = re.compile(r"[^:]+:.+")
_CLOSED = "The program that runs you closed this tool's sandbox."


def provenance(
    tool_call_id: str | None = None, operator: str | None = None, model: str | None = None, turn_id: str | None = None
) -> Provenance:
    """Give who asked within what the service takes: a long name must not make a run fail. ``model``: provider:name."""
    named = model[:_LONGEST_NAME] if model else None
    return Provenance(
        tool_call_id=tool_call_id[:_LONGEST_NAME] if tool_call_id else None,
        operator=operator[:_LONGEST_NAME] if operator else None,
        model=named if named and _MODEL.fullmatch(named) else None,
        turn_id=turn_id[:_LONGEST_NAME] if turn_id else None,
    )


def without_images(outcome: ToolOutcome) -> ToolOutcome:
    """Tell of the pictures instead of showing them."""
    if not outcome.images:
        return outcome
    kinds = ", ".join(image.media_type for image in outcome.images)
    return ToolOutcome(f"{outcome.text}\n[shown in the notebook, not to you: {kinds}]", is_error=outcome.is_error)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sandbox of the tool's own is made with; as the arguments of Sandbox."""

    template: str | None = None
    host: str | None = None
    api_key: str | None = None
    idle_timeout_seconds: int | None = None


@dataclass(slots=True)
class _InLoop:
    """A tool's sandbox, as one event loop has it. ``users``: calls under way."""

    client: AsyncClient
    sandbox: AsyncSandbox | None = None
    users: int = 0


class ToolSandbox:
    """A sandbox for a tool, from threads and event loops alike.

    ``sandbox``: one that the caller made and closes; without it, one is made as ``wanted`` says. ``limit``:
    characters of text that a model is given of a run; ``timeout_seconds``: of one run, None for no limit of its
    own; ``images``: False for a model that takes no pictures from tools. A sandbox of its own that has ended is told
    to the model once; the next call makes a new one.
    """

    def __init__(
        self,
        sandbox: Sandbox | AsyncSandbox | None = None,
        wanted: Wanted | None = None,
        *,
        limit: int = DEFAULT_LIMIT,
        timeout_seconds: float | None = DEFAULT_SECONDS,
        images: bool = True,
    ) -> None:
        self._given = sandbox
        self._wanted = wanted or Wanted()
        self._limit = limit
        self._seconds = timeout_seconds
        self._images = images
        self._sandbox: Sandbox | None = None
        """As threads use it: the tool's own, or the twin of an AsyncSandbox that was given."""
        self._making = threading.Lock()
        """Held while one is made or ended, so not on an event loop's thread."""
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _InLoop] = WeakKeyDictionary()
        self._counting = threading.Lock()
        self._entered = 0
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else repr(self.sandbox) if self.sandbox else "no sandbox yet"
        return f"<{type(self).__name__} {state}>"

    @property
    def sandbox(self) -> Sandbox | AsyncSandbox | None:
        """The sandbox; None while none was needed."""
        return self._given or self._sandbox

    def run(self, arguments: object, by: Provenance) -> ToolOutcome:
        """Run what a model asked for, blocking."""
        call = code_call(arguments)
        if isinstance(call, str):
            return ToolOutcome(call, is_error=True)
        before = self._sandbox
        try:
            self._check_open()
            result = self._blocking().run_code(call.code, call.language, **_fields(self._seconds, by))
        except PodflareError as error:
            return self._failed(error, before)
        return self._told(result)

    async def run_async(self, arguments: object, by: Provenance) -> ToolOutcome:
        """``run`` on an event loop. A task that is cancelled interrupts the code."""
        call = code_call(arguments)
        if isinstance(call, str):
            return ToolOutcome(call, is_error=True)
        before = self._sandbox
        try:
            self._check_open()
            async with self._here() as sandbox:
                result = await sandbox.run_code(call.code, call.language, **_fields(self._seconds, by))
        except PodflareError as error:
            return self._failed(error, before)
        return self._told(result)

    def record(self, message: str, role: Literal["assistant", "user"], by: Provenance) -> None:
        """Write what was said into the notebook; nothing where no code ran yet. A refusal is logged."""
        if self.sandbox is not None:
            record(self._blocking(), message, role, by)

    async def record_async(self, message: str, role: Literal["assistant", "user"], by: Provenance) -> None:
        """``record`` on an event loop."""
        if self.sandbox is not None:
            async with self._here() as sandbox:
                await record_async(sandbox, message, role, by)

    def enter(self) -> None:
        """Begin a context; it may be entered more than once, and again after it was closed."""
        with self._counting:
            self._entered += 1
            self._closed = False

    def leave(self) -> None:
        """End a context; the last one closes. Blocks."""
        with self._counting:
            self._entered -= 1
            last = self._entered <= 0
        if last:
            self.close()

    def close(self) -> None:
        """End the sandbox if it is the tool's own; further calls of the model get a sentence. Idempotent. Blocks."""
        with self._counting:
            self._closed = True
            self._entered = 0
        with self._making:
            sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None and self._given is None:
            leftovers.settled(sandbox.id)
            sandbox.close()

    def _check_open(self) -> None:
        if self._closed:
            raise NotOpenError(_CLOSED)

    def _blocking(self) -> Sandbox:
        """Give the sandbox as any thread can use it; made if there is none."""
        if isinstance(self._given, Sandbox):
            return self._given
        with self._making:
            if self._sandbox is None and self._given is not None:
                self._sandbox = Sandbox.connect(self._given.id, **_place_of(self._given))
            if self._sandbox is None:
                self._check_open()
                self._sandbox = _made(self._wanted)
                leftovers.watch(self, self._sandbox.id, **_place_of(self._sandbox))
            return self._sandbox

    @asynccontextmanager
    async def _here(self) -> AsyncIterator[AsyncSandbox]:
        """Give the sandbox as the running loop can use it."""
        if isinstance(self._given, AsyncSandbox):
            yield self._given
            return
        sandbox = await asyncio.to_thread(self._blocking)
        with self._counting:
            here = self._loops.setdefault(asyncio.get_running_loop(), _InLoop(AsyncClient(**_place_of(sandbox))))
        here.users += 1
        try:
            if here.sandbox is None or here.sandbox.id != sandbox.id:
                here.sandbox = await AsyncSandbox.connect(sandbox.id, client=here.client)
            yield here.sandbox
        finally:
            here.users -= 1
            if not here.users:
                # The loop may end before the next call, and its open connections would be left in it.
                await here.client.close()

    def _told(self, result: ExecResult) -> ToolOutcome:
        outcome = result_outcome(result, self._limit)
        return outcome if self._images else without_images(outcome)

    def _failed(self, error: PodflareError, before: Sandbox | None) -> ToolOutcome:
        """Tell a failure. A sandbox of the tool's own, there ``before`` the call, that has ended is let go of."""
        if self._given is not None or before is None or not isinstance(error, GoneError | NotFoundError):
            return failure_outcome(error, self._limit)
        if self._sandbox is before:
            self._sandbox = None
        leftovers.settled(before.id)
        lost = "Its variables and files are gone. The next call starts a new sandbox."
        return ToolOutcome(f"{error.message} {lost}", is_error=True)


def _made(wanted: Wanted) -> Sandbox:
    return Sandbox(
        wanted.template,
        host=wanted.host,
        api_key=wanted.api_key,
        idle_timeout_seconds=wanted.idle_timeout_seconds,
    )


def _place_of(sandbox: Sandbox | AsyncSandbox) -> dict[str, Any]:
    """Say where a sandbox is, however its endpoint was found."""
    endpoint = sandbox._calls.connection.endpoint  # noqa: SLF001 - our own client's; nobody outside needs it
    return {"host": endpoint.url, "api_key": endpoint.api_key}


def _fields(seconds: float | None, by: Provenance) -> dict[str, Any]:
    return {
        "timeout_seconds": seconds,
        "turn_id": by.turn_id,
        "tool_call_id": by.tool_call_id,
        "operator": by.operator,
        "model": by.model,
    }
