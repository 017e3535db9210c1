"""Answers the order ``variables``: what ``variables.describe`` says of the user's names, in a file in memory.

In the main thread, between two requests, with a deadline. A descriptor instead of a datagram, because the answer
may be larger than one. Above: ``attach``.
"""

from __future__ import annotations

import json
import os

from .. import datagrams
from .ipykernel_seam import TemplateApp
from .orders import Orders
from .variables import describe

MAX_BYTES = 4 << 20
GRACE_SECONDS = 2.0
"""Beyond the budget, which ``describe`` keeps by itself unless the user's code holds it up."""
MAX_BUDGET_SECONDS = 60.0


def answer(app: TemplateApp, orders: Orders, order: datagrams.Datagram) -> None:
    """Obey, or refuse with a sentence."""
    try:
        memory = _described(app, float(order.body["budget_seconds"]))
    except BaseException as error:  # noqa: BLE001  # the user's code may run in there: whatever it raises, the kernel lives
        orders.refuse(order, "failed", f"{type(error).__name__}: {error}"[:500])
        return
    try:
        datagrams.send(orders.ctl, {"event": "variables", "id": order.body.get("id")}, [memory])
    finally:
        os.close(memory)


def _described(app: TemplateApp, budget: float) -> int:
    interrupts, shell = app.kernel.interrupts, app.kernel.shell
    budget = min(max(budget, 0.0), MAX_BUDGET_SECONDS)
    with interrupts.after(budget + GRACE_SECONDS), interrupts.arm():
        described = describe(shell.user_ns, budget, shell.user_ns_hidden)
    data = json.dumps(described).encode()
    if len(data) > MAX_BYTES:
        raise ValueError(f"a description of {len(data)} bytes; at most {MAX_BYTES} are sent")
    memory = os.memfd_create("variables", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(memory), "wb") as file:
        file.write(data)
    return memory
