"""Lets one kernel take over the connection of another one of its family: what a merge and a rewind come down to."""

from __future__ import annotations

import contextlib
import os
import secrets

from ..errors import ConflictError, NoCapacityError, NotFoundError
from .orders import ENDED, Orders
from .supervised_kernel import SupervisedKernel

REKEY_SECONDS = 15.0
SETTLE_SECONDS = 30.0
"""How long what Jupyter clients have asked of a kernel is waited for."""
RETIRE_SECONDS = 4.0
"""How long a kernel that is succeeded may take to answer what it has not begun; its end waits for that, and no more.
More than its clients are waited for (``kernel.hanging_up``, ``kernel.transport.LINGER_MS``)."""


async def succeed(predecessor: SupervisedKernel, successor: SupervisedKernel) -> None:
    """``successor`` is found at the sockets of ``predecessor`` from now on, with its key; the latter's process ends.

    What clients have asked of either is done before; what comes to the predecessor later is answered as aborted, by the
    successor if its client has to connect anew first. Raises
    ConflictError, also if the former takes too long, NotFoundError and, when the successor does not answer,
    NoCapacityError: it is ended then, as nobody knows which key it has. The predecessor is as it was in each case.
    """
    if predecessor is successor or predecessor.family != successor.family:
        raise ConflictError("A kernel can only be succeeded by another one of its own family.")
    orders, before = successor.orders, predecessor.orders
    if orders is None or before is None or successor.exited.done() or predecessor.exited.done():
        raise NotFoundError(ENDED)
    with orders.exclusively(), before.exclusively():
        await _settle(orders, hold=False)
        with contextlib.suppress(NotFoundError, NoCapacityError):  # one that cannot be reached ends all the same
            await _settle(before, hold=True)
        try:
            await _rekey(successor, orders, predecessor.sockets.key)
        except BaseException:
            with contextlib.suppress(NotFoundError, NoCapacityError):
                before.send({"op": "go_on"})
            raise
        successor.sockets.take_over(predecessor.sockets)
        successor.kernel_id = secrets.token_hex(16)
        with contextlib.suppress(NotFoundError, NoCapacityError):  # as above
            await _retire(before, orders)


async def _settle(orders: Orders, *, hold: bool) -> None:
    """Wait until nothing that clients have asked is under way; with ``hold`` nothing more is begun."""
    number = orders.give("settle", wait_seconds=SETTLE_SECONDS, hold=hold)
    answer = await orders.hear({"settled", "refused"}, SETTLE_SECONDS + REKEY_SECONDS, number)
    answer.close_fds()
    if answer.body.get("code") == "busy":
        raise ConflictError("Code of another client is still running in the kernel. Wait for its end, or interrupt it.")


async def _rekey(successor: SupervisedKernel, orders: Orders, key: str) -> None:
    number = orders.give("rekey", key=key)
    try:
        answer = await orders.hear({"rekeyed", "refused"}, REKEY_SECONDS, number)
    except NoCapacityError:
        await successor.kill()
        raise
    answer.close_fds()
    if answer.body["event"] == "refused":
        raise ConflictError(f"The kernel cannot take over: {str(answer.body.get('error'))[:500]}.")


async def _retire(before: Orders, orders: Orders) -> None:
    """Have the executions that came since it stands still answered as aborted, and its clients sent to who has its
    place: whom ``orders`` reach, who is told what it has left to do, or that there is nothing."""
    subscribers: object = 0
    fds: list[int] = []
    try:
        number = before.give("retire", wait_seconds=RETIRE_SECONDS)
        answer = await before.hear({"retired", "refused"}, RETIRE_SECONDS, number)
        subscribers, fds = answer.body.get("subscribers"), answer.fds
    finally:
        with contextlib.suppress(NotFoundError, NoCapacityError):
            # What the answers are, if the predecessor has sent any, is the family's: the supervisor does not look.
            awaited = subscribers if isinstance(subscribers, int) else 0
            orders.send({"op": "inherit", "subscribers": awaited}, fds[:1])
        for fd in fds:
            os.close(fd)
