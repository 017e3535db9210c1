"""The notebook of a sandbox, live or closed: as JSON, as a file, and as what people read elsewhere.

It is sent in pieces, each when the client has taken the last: a notebook of any size takes the memory of one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from tornado import web

from ..errors import NotFoundError
from ..transcripts.export import CONTENT_TYPES, ExportFormat
from ..transcripts.transcript import Transcript
from .authorization import authorized
from .base import PodflareHandler
from .sandboxes import flag
from .streaming import StreamingHandler

IPYNB_TYPE = "application/x-ipynb+json"
EXPORT_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox"
"""What an exported page may do on our origin: be looked at. Its content is of the sandbox's making."""


class TranscriptHandler(PodflareHandler):
    """Base of handlers that need a sandbox's transcript."""

    async def transcript(self, sandbox_id: str) -> Transcript:
        """Find the transcript of a sandbox of the caller's, live or closed. Raises NotFoundError."""
        services = await self.services()
        try:
            transcript = services.transcripts.open(sandbox_id)
        except NotFoundError:
            transcript = None
        if transcript is None or transcript.header.tenant_id != self.who.tenant.id:
            raise NotFoundError(f"There is no sandbox {sandbox_id!r} of yours.")
        return transcript


class PiecesHandler(StreamingHandler, TranscriptHandler):
    """Base of handlers that send a notebook."""

    async def send_pieces(self, pieces: AsyncGenerator[bytes], content_type: str) -> None:
        """Send all pieces; those that nobody takes any more are given back."""
        self.begin_stream(content_type)
        async with aclosing(pieces):
            await self.send_all(pieces)


class NotebookHandler(PiecesHandler):
    """``GET /v1/sandboxes/{id}/notebook`` and ``notebook.ipynb``."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:notebooks")
    async def get(self, sandbox_id: str, suffix: str | None) -> None:
        """Send the notebook as it is now: nbformat 4.5."""
        pieces = (await self.transcript(sandbox_id)).ipynb_pieces()
        if suffix:
            self.set_attachment_header(f"{sandbox_id}.ipynb")
        await self.send_pieces(pieces, IPYNB_TYPE if suffix else "application/json")


class NotebookExportHandler(PiecesHandler):
    """``GET /v1/sandboxes/{id}/notebook.html``, ``.md`` and ``.py``; ``?download`` makes it a file to keep."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:notebooks")
    async def get(self, sandbox_id: str, kind: str) -> None:
        """Send the notebook in another format."""
        pieces = (await self.transcript(sandbox_id)).export_pieces(cast("ExportFormat", kind))
        if flag(self, "download", bare="true"):
            self.set_attachment_header(f"{sandbox_id}.{kind}")
        self.set_header("Content-Security-Policy", EXPORT_CSP)
        await self.send_pieces(pieces, CONTENT_TYPES[kind])
