"""Makes a kernel's messages: jupyter_client's Session, made fit for forked kernels.

Adds: a display or result that no client could take is replaced by a sentence on stderr; a fork of the kernel's own
(``os.fork``, multiprocessing) never touches the parent's sockets; nothing is sent without copying, which would cost
a thread and a ZeroMQ context of pyzmq's. Packing is most of what a message costs: the encoder is made once, and the
parent header, the same in all messages of a request, is packed once.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from typing import Any

from jupyter_client.jsonutil import json_default
from jupyter_client.session import DELIM, Session, json_packer

MAX_DISPLAY_BYTES = 32 << 20
DISPLAYS = frozenset({"display_data", "execute_result", "update_display_data"})
DIGESTS_REMEMBERED = 4096
"""Signatures kept against replays; jupyter_client's 65536 would cost each kernel 10 MB."""
NEVER = 1 << 62
_ENCODE = json.JSONEncoder(default=json_default, ensure_ascii=False, allow_nan=False).encode


class KernelSession(Session):
    """``refuse(message_type, size, parent)`` is told of a display that was not sent."""

    def __init__(self, refuse: Callable[[str, int, dict[str, Any]], None], **kwargs: Any) -> None:
        self._numbers = itertools.count()
        super().__init__(copy_threshold=NEVER, digest_history_size=DIGESTS_REMEMBERED, **kwargs)
        self._refuse = refuse
        self._packed_parent: tuple[object, bytes] = (None, b"")
        if self.pack is json_packer:  # an environment with orjson has something quicker
            self.pack = _pack

    def renew(self, key: bytes) -> None:
        """Be another kernel's session, in a process of its own."""
        self.session = os.urandom(16).hex()
        self.key = key
        self.pid = os.getpid()
        self.digest_history = set()
        self._packed_parent = (None, b"")
        self._numbers = itertools.count()

    def rekey(self, key: bytes) -> None:
        """Sign and check with this key from now on."""
        self.key = key
        self.digest_history = set()

    @property
    def msg_id(self) -> str:
        """Unique, whatever thread asks."""
        return f"{self.session}_{self.pid}_{next(self._numbers)}"

    @property
    def in_kernel(self) -> bool:
        """Whether this is the kernel's process, not one that its user forked."""
        return self.pid == os.getpid()

    def serialize(self, msg: dict[str, Any], ident: bytes | list[bytes] | None = None) -> list[bytes]:
        """As Session.serialize."""
        content = msg.get("content")
        if not isinstance(content, dict):  # packed already, or wrong
            return super().serialize(msg, ident)
        parent = msg["parent_header"]
        last, packed_parent = self._packed_parent
        if parent is not last:
            packed_parent = self.pack(parent)
            self._packed_parent = (parent, packed_parent)
        metadata = self.pack(msg["metadata"]) if msg["metadata"] else b"{}"
        parts = [self.pack(msg["header"]), packed_parent, metadata, self.pack(content)]
        identities = ident if isinstance(ident, list) else [] if ident is None else [ident]
        return [*identities, DELIM, self.sign(parts), *parts]

    def send(
        self,
        stream: Any,
        msg_or_type: Any,
        content: Any = None,
        parent: Any = None,
        ident: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any] | None:
        """As Session.send."""
        message = msg_or_type if isinstance(msg_or_type, dict) else None
        kind = message["header"]["msg_type"] if message is not None else msg_or_type
        if kind in DISPLAYS:
            shown = content if message is None else message["content"]
            if not self.in_kernel:
                _write_plainly(shown)
                return None
            size = bundle_size(shown.get("data") or {})
            if size > MAX_DISPLAY_BYTES:
                self._refuse(kind, size, parent if message is None else message["parent_header"])
                return None
        return super().send(stream, msg_or_type, content, parent, ident, *args, **kwargs)


def _pack(message_part: Any) -> bytes:
    try:
        return _ENCODE(message_part).encode("utf8", errors="surrogateescape")
    except (TypeError, ValueError):
        return json_packer(message_part)  # cleans it, and warns


def _write_plainly(shown: dict[str, Any]) -> None:
    text = str((shown.get("data") or {}).get("text/plain", "")) + "\n"
    os.write(1, text.encode("utf-8", "backslashreplace"))


def bundle_size(data: dict[str, Any]) -> int:
    """Bytes of a MIME bundle as it would travel, at least."""
    return sum(_size(value) for value in data.values())


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return 1
