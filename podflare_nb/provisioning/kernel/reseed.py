"""Makes a forked process draw its own random numbers: every generator whose state the fork copied starts anew."""

from __future__ import annotations

import multiprocessing.process
import os
import random
import sys
import tempfile
import uuid
from typing import Any


def reseed() -> None:
    """Reseed what is loaded.

    What asks the system each time (secrets, uuid4) or sees the fork itself (OpenSSL) needs nothing.
    """
    random.seed()
    tempfile._name_sequence = None  # type: ignore[attr-defined]  # noqa: SLF001  # no public way to forget it
    uuid._last_timestamp = None  # type: ignore[attr-defined]  # noqa: SLF001  # the same
    process: Any = multiprocessing.process.current_process()
    process.authkey = os.urandom(32)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.seed()
