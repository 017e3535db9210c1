"""Lets one kernel take over the connection of another one of its family: what a merge and a rewind come down to."""

from __future__ import annotations

import secrets

from ..errors import ConflictError, NoCapacityError, NotFoundError
from .orders import ENDED
from .supervised_kernel import SupervisedKernel

REKEY_SECONDS = 15.0


async def succeed(predecessor: SupervisedKernel, successor: SupervisedKernel) -> None:
    """``successor`` is found at the sockets of ``predecessor`` from now on, with its key; the latter's process ends.

    Raises ConflictError, NotFoundError and, when the successor does not answer, NoCapacityError: it is ended then, as
    nobody knows which key it has. The predecessor is as it was in each case.
    """
    if predecessor is successor or predecessor.family != successor.family:
        raise ConflictError("A kernel can only be succeeded by another one of its own family.")
    orders = successor.orders
    if orders is None or successor.exited.done() or predecessor.exited.done():
        raise NotFoundError(ENDED)
    with orders.exclusively():
        number = orders.give("rekey", key=predecessor.sockets.key)
        try:
            answer = await orders.hear({"rekeyed", "refused"}, REKEY_SECONDS, number)
        except NoCapacityError:
            await successor.kill()
            raise
    answer.close_fds()
    if answer.body["event"] == "refused":
        raise ConflictError(f"The kernel cannot take over: {str(answer.body.get('error'))[:500]}.")
    successor.sockets.take_over(predecessor.sockets)
    successor.kernel_id = secrets.token_hex(16)
