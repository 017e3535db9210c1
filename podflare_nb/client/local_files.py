"""Files on the caller's side: what may be handed over as content, and how a download comes to be a file."""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 256 * 1024

Content = bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes]
"""Bytes, text (as UTF-8), the path of a local file, or a file object that gives bytes."""


@contextmanager
def opened(content: Content) -> Iterator[tuple[IO[bytes], int | None]]:
    """Give a file object to read from and the number of bytes, None where that is not known."""
    if isinstance(content, str):
        content = utf8(content)
    if isinstance(content, bytes | bytearray | memoryview):
        yield io.BytesIO(content), memoryview(content).nbytes
    elif isinstance(content, os.PathLike):
        with open(content, "rb") as file:  # noqa: PTH123 - any PathLike, not only a Path
            yield file, os.fstat(file.fileno()).st_size
    else:
        yield content, None


def utf8(text: str) -> bytes:
    """Encode; raises InvalidArgumentError for what is no character."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        reason = f"half of a surrogate pair at {error.start}, which UTF-8 has no bytes for"
        raise InvalidArgumentError(f"The text holds {reason}: take it out, or give bytes.") from error


@contextmanager
def appearing(target: Path) -> Iterator[IO[bytes]]:
    """Give a file to write into that becomes ``target`` when all went well, and else was never there."""
    import tempfile  # noqa: PLC0415 - it and what it brings are a tenth of the time that the client takes to load

    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        partial.chmod(0o666 & ~_umask())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _umask() -> int:
    """What open() would apply, as mkstemp makes private files. It can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
