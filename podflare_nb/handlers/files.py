"""Files of a sandbox as raw bytes, streamed both ways: a file of any size takes a few MiB of the server's memory.

What a sandbox wrote is never shown as a page of ours: it is sent as an attachment, under a policy that lets it do
nothing.
"""

from __future__ import annotations

import asyncio
import mimetypes
from typing import Any

from jupyter_core.utils import ensure_async
from tornado import httputil, web

from ..errors import (
    ForbiddenError,
    InvalidArgumentError,
    PodflareError,
    RangeNotSatisfiableError,
    TooLargeError,
)
from ..protocol.responses import DirectoryListing, FileEntry, FileWritten
from ..sandboxes.file_streams import FileEntry as FoundFile
from ..sandboxes.file_streams import FileReader, Upload
from ..sandboxes.files import WorkspaceFiles
from ..sandboxes.sandbox import Sandbox
from .authorization import authorized
from .byte_ranges import part_of
from .sandboxes import flag
from .streaming import StreamingHandler

RESOURCE = "podflare_nb:files"
FILE_CSP = "default-src 'none'; sandbox"
WRITE_BYTES = 1 << 20
"""Collected before they are written: what arrives at a time is 64 KiB, and each write is a thread's work."""

MIB = 1 << 20


class WorkspaceHandler(StreamingHandler):
    """``/v1/sandboxes/{id}/files``: the workspace itself; and what reading a file in it takes."""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, sandbox_id: str, path: str = "") -> None:
        """Send a file's bytes, or the part that is asked for; or list a directory."""
        files = (await self.find_sandbox(sandbox_id)).files
        found = await files.stat(path)
        if found.type == "directory":
            await self._list(files, path)
            return
        async with await files.open(path) as reader:
            await self._send(reader)

    async def _send(self, reader: FileReader) -> None:
        self.begin_stream(content_type_of(reader.entry.name))
        self.describe(reader.entry)
        if self.check_etag_header():
            self.set_status(304)
            await self.finish_stream()
            return
        size = reader.entry.size
        part = part_of(self.request.headers, size, quoted(reader.entry.etag))
        if part is None:
            part = range(size)
        elif part:
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{size}")
        else:
            raise RangeNotSatisfiableError(f"The file has {size} bytes; the range begins behind its end.", size=size)
        self.set_header("Content-Length", str(len(part)))
        await self.send_all(reader.chunks(part))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell an error, and with a range that is not there how large the file is."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if isinstance(error, RangeNotSatisfiableError):
            self.set_header("Content-Range", f"bytes */{error.details['size']}")
        super().write_error(status_code, **kwargs)

    async def _list(self, files: WorkspaceFiles, path: str) -> None:
        entries = [
            FileEntry(name=entry.name, type=entry.type, size=entry.size, modified=entry.modified)
            for entry in await files.entries(path)
        ]
        await self.answer(DirectoryListing(path=path, entries=entries))

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def head(self, sandbox_id: str, path: str = "") -> None:
        """Tell what ``get`` would send: its type, size and age."""
        found = await (await self.find_sandbox(sandbox_id)).files.stat(path)
        if found.type == "directory":
            await self.finish()
            return
        self.describe(found)
        self.set_header("Content-Length", str(found.size))
        await self.finish(set_content_type=content_type_of(found.name))

    async def find_sandbox(self, sandbox_id: str) -> Sandbox:
        """Find the sandbox; whoever uses its files uses it."""
        services = await self.services()
        sandbox = services.sandboxes.get(self.who.tenant.id, sandbox_id)
        sandbox.was_used()
        return sandbox

    def describe(self, found: FoundFile) -> None:
        """Set the headers that tell of a file."""
        self.set_header("Etag", quoted(found.etag))
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Last-Modified", httputil.format_timestamp(found.modified))
        self.set_header("Content-Security-Policy", FILE_CSP)
        self.set_header("Cache-Control", "no-cache")
        self.set_attachment_header(found.name)


class FilesHandler(WorkspaceHandler):
    """``/v1/sandboxes/{id}/files/<path>``: a file or a directory."""

    def initialize(self, **_: Any) -> None:
        """Begin with no file."""
        super().initialize()
        self._upload: Upload | None = None
        self._failure: PodflareError | None = None

    async def admit(self) -> None:
        """As every handler; a PUT also opens the file, since its body comes before ``put`` is called."""
        await super().admit()
        if self.request.method == "PUT":
            # The body is taken before the method's own check: refuse here what it would refuse.
            if not await ensure_async(self.authorizer.is_authorized(self, self.who.user, "write", RESOURCE)):
                raise ForbiddenError("You may not write files.")
            await self._begin_upload(str(self.path_args[0]), str(self.path_args[1]))

    def _refuse_large_bodies(self) -> None:
        """Leave a PUT's size to the sandbox's disk limit; other methods have no body to speak of."""
        if self.request.method != "PUT":
            super()._refuse_large_bodies()

    async def _begin_upload(self, sandbox_id: str, path: str) -> None:
        if not path or path.endswith("/"):
            raise InvalidArgumentError("A file's path cannot be empty or end with a slash.")
        if "Content-Range" in self.request.headers:  # RFC 9110, 14.5: it would become the whole
            raise InvalidArgumentError("A part of a file cannot be written; send the whole, without Content-Range.")
        sandbox = await self.find_sandbox(sandbox_id)
        limit = sandbox.limits.disk_mib * MIB
        if self.declared_length > limit:
            raise TooLargeError(
                f"The file has {self.declared_length} bytes; the sandbox's disk has {limit} "
                f"({sandbox.limits.disk_mib} MiB). Create the sandbox with a larger rootfs_gb.",
                limit=limit,
                size=self.declared_length,
            )
        connection: Any = self.request.connection
        connection.set_max_body_size(limit + 1)
        self._upload = await sandbox.files.upload(path)

    async def data_received(self, chunk: bytes) -> None:  # type: ignore[override] # Tornado awaits what it gets
        """Write a PUT's body as it comes. What goes wrong is told when the body is over: nobody listens before."""
        if self._upload is None:
            super().data_received(chunk)
        elif self._failure is None:
            self._body += chunk
            if len(self._body) >= WRITE_BYTES:
                await self._write_out(self._upload)

    async def _write_out(self, upload: Upload) -> None:
        data, self._body = bytes(self._body), bytearray()
        try:
            await upload.write(data)
        except PodflareError as error:
            self._failure = error

    @web.authenticated
    @authorized("write", resource=RESOURCE)
    async def put(self, sandbox_id: str, path: str) -> None:
        """Put the file in its place: whole, or not at all."""
        upload = self._upload
        if upload is None:
            raise InvalidArgumentError("There is no body to write.")
        async with upload:
            if self._failure is None and self._body:
                await self._write_out(upload)
            if self._failure is not None:
                raise self._failure
            await upload.commit()
        await self.find_sandbox(sandbox_id)  # one that ended meanwhile has taken the file with it
        await self.answer(FileWritten(path=path, size=upload.size), 201)

    def on_connection_close(self) -> None:
        """Drop what had arrived of a file whose sender went away."""
        super().on_connection_close()
        if self._upload is not None:
            asyncio.ensure_future(self._upload.aclose())  # noqa: RUF006 - it ends by itself, and soon

    @web.authenticated
    @authorized("write", resource=RESOURCE)
    async def delete(self, sandbox_id: str, path: str) -> None:
        """Delete a file or a directory; one that is not empty only with ``?recursive=true``."""
        files = (await self.find_sandbox(sandbox_id)).files
        await files.delete(path, recursive=flag(self, "recursive"))
        self.set_status(204)
        await self.finish()


def quoted(etag: str) -> str:
    """Write an etag as headers have it."""
    return f'"{etag}"'


def content_type_of(name: str) -> str:
    """Guess a file's type from its name."""
    kind, encoding = mimetypes.guess_type(name)
    return kind if kind and encoding is None else "application/octet-stream"
