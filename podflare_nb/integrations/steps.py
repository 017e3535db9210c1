"""One piece of logic for both clients: a generator decides, and says which calls to make; a driver makes them.

A step is a function of the sandbox that makes one call. The generator yields steps and is sent what they gave, or
thrown what they raised; ``walk`` makes the calls on a Sandbox, ``walk_async`` awaits them on an AsyncSandbox. So
no adapter is written twice. Stands on the client.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from podflare_nb.client import AsyncSandbox, Sandbox

Answer = TypeVar("Answer")

Step = Callable[[Any], Any]
"""Given the sandbox: the answer of one call, or the awaitable of it."""

Steps = Generator[Step, Any, Answer]


def walk(steps: Steps[Answer], sandbox: Sandbox) -> Answer:
    """Make the calls one after the other; what the generator returns comes back."""
    given: object = sandbox
    if isinstance(given, AsyncSandbox):
        raise TypeError("This takes a Sandbox. For an AsyncSandbox call the function whose name ends in _async.")
    try:
        step = next(steps)
        while True:
            try:
                value = step(sandbox)
            except Exception as error:  # noqa: BLE001 - the generator decides what it means, or lets it pass
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer
    finally:
        steps.close()


async def walk_async(steps: Steps[Answer], sandbox: AsyncSandbox) -> Answer:
    """``walk``, awaiting each call. Cancelling it closes the generator."""
    given: object = sandbox
    if isinstance(given, Sandbox):
        raise TypeError("This takes an AsyncSandbox. For a Sandbox call the function without _async in its name.")
    try:
        step = next(steps)
        while True:
            try:
                value = step(sandbox)
                if inspect.isawaitable(value):
                    value = await value
            except Exception as error:  # noqa: BLE001 - the generator decides what it means, or lets it pass
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer
    finally:
        steps.close()
