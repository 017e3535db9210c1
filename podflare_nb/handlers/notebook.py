"""The notebook of a sandbox, live or closed: as JSON, as a file, and as what people read elsewhere."""

from __future__ import annotations

import asyncio
from typing import cast

from tornado import web

from ..errors import NotFoundError
from ..transcripts.export import CONTENT_TYPES, ExportFormat, export
from ..transcripts.transcript import Transcript
from .authorization import authorized
from .base import PodflareHandler

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


class NotebookHandler(TranscriptHandler):
    """``GET /v1/sandboxes/{id}/notebook`` and ``notebook.ipynb``."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:notebooks")
    async def get(self, sandbox_id: str, suffix: str | None) -> None:
        """Send the notebook as it is now: nbformat 4.5."""
        content = await (await self.transcript(sandbox_id)).ipynb()
        if suffix:
            self.set_attachment_header(f"{sandbox_id}.ipynb")
        self.set_header("Cache-Control", "no-store")
        await self.finish(content, set_content_type=IPYNB_TYPE if suffix else "application/json")


class NotebookExportHandler(TranscriptHandler):
    """``GET /v1/sandboxes/{id}/notebook.html``, ``.md`` and ``.py``; ``?download`` makes it a file to keep."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:notebooks")
    async def get(self, sandbox_id: str, kind: str) -> None:
        """Send the notebook in another format."""
        notebook = await (await self.transcript(sandbox_id)).notebook()
        text = await asyncio.to_thread(export, notebook, cast("ExportFormat", kind))
        if self.get_query_argument("download", None) is not None:
            self.set_attachment_header(f"{sandbox_id}.{kind}")
        self.set_header("Content-Security-Policy", EXPORT_CSP)
        self.set_header("Cache-Control", "no-store")
        await self.finish(text, set_content_type=CONTENT_TYPES[kind])
