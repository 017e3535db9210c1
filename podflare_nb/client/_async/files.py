"""The files of a sandbox's workspace, streamed as raw bytes in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

from podflare_nb.client.beside_loop import in_thread
from podflare_nb.client.errors import NotFoundError
from podflare_nb.client.local_files import CHUNK_BYTES, Content, appearing, opened
from podflare_nb.client.paths import parent_and_name, url_path
from podflare_nb.client.records import FileInfo

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Mapping

    from podflare_nb.client._async.calls import AsyncCalls

FileInfos = list[FileInfo]
"""What ``list`` gives; the class below has a method of that name."""


class AsyncFiles:
    """Paths are relative to the workspace, the directory in which code runs."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def read(self, path: str) -> bytes:
        """Give the content of a file."""
        return await self._calls.content("GET", _route(path))

    async def read_text(self, path: str, encoding: str = "utf-8") -> str:
        """Give the content of a text file."""
        return (await self.read(path)).decode(encoding)

    async def write(self, path: str, content: Content) -> FileInfo:
        """Write a file, its parent directories too. ``content``: bytes, text, a local Path or a file object.

        It is there whole or not at all. A local file is streamed, so its size does not matter to memory.
        """
        with opened(content) as (file, size):
            # What cannot be read again from its beginning is sent only once.
            start = file.tell() if hasattr(file, "seekable") and file.seekable() else None
            answer: Mapping[str, object] = await self._calls.connection.upload(
                self._calls.path(_route(path)),
                lambda: _chunks(file, start),
                size,
                "unsent" if start is None else "always",
            )
        return FileInfo(str(answer.get("path", path)), "file", int(str(answer.get("size", size or 0))))

    async def list(self, path: str = ".") -> FileInfos:
        """Give what is in a directory, not in those below it."""
        answer = await self._calls.call("GET", _route(path))
        if not isinstance(answer, dict) or not isinstance(answer.get("entries"), list):
            raise NotFoundError(f"{path} is not a directory.")
        prefix = "" if path in {".", ""} else path.rstrip("/") + "/"
        return [_info(prefix, entry) for entry in answer["entries"]]

    async def stat(self, path: str) -> FileInfo:
        """Tell type, size and time of one file or directory; raises NotFoundError where there is none."""
        parent, name = parent_and_name(path)
        if name in {"", "."}:
            return FileInfo(path, "directory", 0)
        for info in await self.list(parent):
            if info.name == name:
                return info
        raise NotFoundError(f"There is no file {path} in this sandbox.")

    async def exists(self, path: str) -> bool:
        """Whether there is a file or directory."""
        try:
            await self.stat(path)
        except NotFoundError:
            return False
        return True

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        """Delete a file or an empty directory; with ``recursive`` a directory with all that is in it."""
        await self._calls.call("DELETE", _route(path), params={"recursive": "true"} if recursive else None)

    async def upload(self, local: str | os.PathLike[str], remote: str) -> FileInfo:
        """Copy a local file into the workspace."""
        return await self.write(remote, Path(local))

    async def download(self, remote: str, local: str | os.PathLike[str]) -> Path:
        """Copy a file of the workspace to a local path, streamed; it appears there whole or not at all."""
        target = Path(local)
        with appearing(target) as file:
            async with self._calls.connection.download(self._calls.path(_route(remote))) as chunks:
                async for chunk in chunks:
                    await in_thread(file.write, chunk)
        return target


async def _chunks(file: IO[bytes], start: int | None) -> AsyncIterator[bytes]:
    if start is not None:
        file.seek(start)
    while chunk := await in_thread(file.read, CHUNK_BYTES):
        yield chunk


def _route(path: str) -> str:
    return "/files/" + url_path(path)


def _info(prefix: str, entry: Mapping[str, object]) -> FileInfo:
    modified = entry.get("modified")
    return FileInfo(
        path=prefix + str(entry.get("name")),
        type=str(entry.get("type")),
        size=int(str(entry.get("size") or 0)),
        modified=modified if isinstance(modified, str) else None,
    )
