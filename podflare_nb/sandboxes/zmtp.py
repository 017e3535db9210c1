"""Turns the bytes of a unix socket into ZeroMQ messages and back: the client half of ZMTP 3.0, mechanism NULL.

Why not libzmq, which speaks it on the kernel's side: a kernel is a stranger's. libzmq holds a multipart message
until its last part has come, however many parts there are, and answers a part over ``ZMQ_MAXMSGSIZE`` by
dropping the connection and what was queued on it. Here one bound holds for a whole message, what is over it is
skipped while it arrives and counted, and the connection lives on. It also saves a thread's wake-up each way.

Not a general ZMTP peer: no reconnecting, no heartbeats, no encryption, no listening. ``kernel_connection`` stands
above it and knows what the messages mean.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

MORE, LONG, COMMAND = 1, 2, 4
GREETING = b"\xff" + b"\0" * 8 + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" * 32
SUBSCRIBE_ALL = b"\0\x01\x01"
"""The frame by which a SUB socket subscribes to every topic."""

MAX_FRAMES = 256
"""Frames kept of one message; a Jupyter message has seven and its binary buffers."""
_INLINE = 64 * 1024
"""A frame up to this size is cut from the bytes read; a longer one is read into a buffer of its own."""
_DRAIN_BYTES = 8 << 20

Message = tuple[list[bytes | bytearray], int]
"""The frames, and how many bytes over the bound were skipped (their frames are empty)."""

_scratch = bytearray(256 * 1024)


class ProtocolError(Exception):
    """The peer does not speak ZMTP 3 as we need it."""


def encode(frames: list[bytes]) -> bytes:
    """Encode one message."""
    parts = []
    last = len(frames) - 1
    for index, frame in enumerate(frames):
        flags = 0 if index == last else MORE
        size = len(frame)
        if size < 256:
            parts.append(bytes((flags, size)))
        else:
            parts.append(bytes((flags | LONG,)) + size.to_bytes(8, "big"))
        parts.append(frame)
    return b"".join(parts)


def ready_command(socket_type: bytes) -> bytes:
    """The READY command of a socket of this type."""
    body = b"\x05READY\x0bSocket-Type" + len(socket_type).to_bytes(4, "big") + socket_type
    return bytes((COMMAND, len(body))) + body


class Decoder:
    """Splits the stream into messages of at most ``max_bytes`` each. Holds at most that much; never waits.

    Feed it what was read. While ``room`` is not None, read the next bytes into it and call ``filled`` instead.
    """

    def __init__(self, max_bytes: int) -> None:
        self.greeted = False
        """The peer's READY has arrived: messages may be sent."""
        self._max_bytes = max_bytes
        self._tail = b""
        self._greeting_checked = False
        self._frames: list[bytes | bytearray] = []
        self._size = 0
        self._dropped = 0
        self._long = bytearray()
        self._long_flags = 0
        self._long_filled = 0
        self._skip = 0

    @property
    def room(self) -> memoryview | None:
        """Where the rest of a long frame is to be read into; None when there is none under way."""
        if self._skip:
            return memoryview(_scratch)[: self._skip]
        if self._long:
            return memoryview(self._long)[self._long_filled :]
        return None

    def filled(self, count: int) -> list[Message]:
        """``count`` bytes were read into ``room``."""
        out: list[Message] = []
        if self._skip:
            self._skip -= count
            if not self._skip:
                self._frame(self._long_flags, b"", out)
        else:
            self._long_filled += count
            if self._long_filled == len(self._long):
                frame, self._long = self._long, bytearray()
                self._frame(self._long_flags, frame, out)
        return out

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes in, give the messages that they complete. Raises ProtocolError."""
        data = self._tail + data
        if not self._greeting_checked:
            if len(data) < len(GREETING):
                self._tail = data
                return []
            data = self._past_greeting(data)
        out: list[Message] = []
        position, end = 0, len(data)
        while end - position >= 2:
            flags = data[position]
            if flags & LONG:
                if end - position < 9:
                    break
                size, start = int.from_bytes(data[position + 1 : position + 9], "big"), position + 9
            else:
                size, start = data[position + 1], position + 2
            stop = start + size
            if stop <= end:
                self._frame(flags, data[start:stop], out)
            elif size <= _INLINE:
                break
            else:
                self._begin_long(flags, size, data[start:])
                stop = end
            position = stop
        self._tail = data[position:]
        return out

    def _past_greeting(self, data: bytes) -> bytes:
        if data[0] != 0xFF or data[9] != 0x7F or data[10] < 3 or data[12:32] != GREETING[12:32]:
            raise ProtocolError("The peer's greeting is not that of ZMTP 3 with mechanism NULL.")
        self._greeting_checked = True
        return data[len(GREETING) :]

    def _begin_long(self, flags: int, size: int, begun: bytes) -> None:
        self._long_flags = flags
        if flags & COMMAND or self._size + size > self._max_bytes:
            self._dropped += size
            self._skip = size - len(begun)
        else:
            self._long = bytearray(size)
            self._long[: len(begun)] = begun
            self._long_filled = len(begun)

    def _frame(self, flags: int, body: bytes | bytearray, out: list[Message]) -> None:
        if flags & COMMAND:
            if body.startswith(b"\x05READY"):
                self.greeted = True
            elif body.startswith(b"\x05ERROR"):
                raise ProtocolError("The peer refused the connection.")
            return
        if self._size + len(body) > self._max_bytes or len(self._frames) == MAX_FRAMES:
            self._dropped += len(body)
            body = b""
        if len(self._frames) < MAX_FRAMES:
            self._frames.append(body)
        self._size += len(body)
        if not flags & MORE:
            out.append((self._frames, self._dropped))
            self._frames, self._size, self._dropped = [], 0, 0


class ZmtpSocket:
    """One connection to a listening ZeroMQ socket, driven by the running event loop.

    ``connect`` returns at once. ``on_open`` is called when messages may be sent, ``on_messages`` with every batch
    that arrives, ``on_lost`` once when the peer has ended the connection or broken the protocol. None of them is
    called after ``close``.
    """

    def __init__(
        self,
        socket_type: bytes,
        *,
        max_message_bytes: int,
        on_open: Callable[[], None],
        on_messages: Callable[[list[Message]], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._type = socket_type
        self._decoder = Decoder(max_message_bytes)
        self._on_open, self._on_messages, self._on_lost = on_open, on_messages, on_lost
        self.received = 0
        """Bytes read so far: of a long message they tell that it is on its way."""
        self._socket: socket.socket | None = None
        self._unsent = b""
        self._waiting = False
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        state = "closed" if self._socket is None else "open" if self._decoder.greeted else "connecting"
        return f"<ZmtpSocket {self._type.decode()} {state}>"

    def connect(self, path: str) -> None:
        """Connect and greet. Raises OSError when nothing listens at ``path``."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        self._socket = sock
        self._loop.add_reader(sock, self._readable)
        # What follows READY must wait for the peer's: libzmq ends a connection that sends earlier.
        self.send_bytes(GREETING + ready_command(self._type))

    def send(self, frames: list[bytes]) -> None:
        """Send one message; what the peer does not take now is sent when it does. Nothing once it is lost."""
        self.send_bytes(encode(frames))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes that are frames already."""
        if self._socket is None:
            return
        if self._unsent:
            self._unsent += data
            return
        self._unsent = data
        self._writable()

    def drain(self) -> None:
        """Read what has arrived already, of a peer that is dead."""
        left = _DRAIN_BYTES
        while left > 0 and self._socket is not None:
            count = self._readable()
            if not count:
                return
            left -= count

    def close(self) -> None:
        """Close; idempotent."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None

    def _writable(self) -> None:
        if self._socket is None:
            return
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(f"sending failed ({errno.errorcode.get(error.errno or 0, 'unknown')})")
            return
        self._unsent = self._unsent[sent:]
        if self._unsent and not self._waiting:
            self._loop.add_writer(self._socket, self._writable)
        elif self._waiting and not self._unsent:
            self._loop.remove_writer(self._socket)
        self._waiting = bool(self._unsent)

    def _readable(self) -> int:
        if self._socket is None:
            return 0
        decoder = self._decoder
        room = decoder.room
        try:
            count = self._socket.recv_into(memoryview(_scratch)[:_INLINE] if room is None else room)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lose(f"reading failed ({errno.errorcode.get(error.errno or 0, 'unknown')})")
            return 0
        if not count:
            self._lose("it closed the connection")
            return 0
        self.received += count
        was_open = decoder.greeted
        try:
            messages = decoder.feed(bytes(_scratch[:count])) if room is None else decoder.filled(count)
        except ProtocolError as error:
            self._lose(str(error))
            return 0
        if decoder.greeted and not was_open:
            self._on_open()
        if messages:
            self._on_messages(messages)
        return count

    def _lose(self, reason: str) -> None:
        self.close()
        self._on_lost(reason)
