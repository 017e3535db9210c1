"""What was said elsewhere: an outside agent's words, and its user's, go into the notebook beside its runs."""

from __future__ import annotations

from tornado import web

from ..errors import NoCapacityError
from ..protocol.provenance import model_of
from ..protocol.requests import Record
from ..protocol.responses import RecordedCell
from ..sandboxes import endings
from ..transcripts.transcript import title_of
from .authorization import authorized
from .base import PodflareHandler


class RecordHandler(PodflareHandler):
    """``POST /v1/sandboxes/{id}/record``."""

    @web.authenticated
    @authorized("execute", resource="podflare_nb:executions")
    async def post(self, sandbox_id: str) -> None:
        """Add a markdown cell, whatever runs meanwhile; it is in the journal when this answers."""
        said = self.read(Record)
        services = await self.services()
        sandbox = services.sandboxes.get(self.who.tenant.id, sandbox_id)
        if (end := sandbox.end) is not None:  # it is closing: its notebook may be closed already
            raise endings.over(sandbox_id, end.reason, end.message, end.merged_into)
        transcript = services.transcripts.open(sandbox_id)
        role = said.role or "assistant"
        cell_id = transcript.add_markdown(
            said.turn_id,
            role,
            said.message,
            principal=self.who.principal,
            operator=said.operator,
            model=model_of(said.model),
        )
        if transcript.journal.lost:
            raise NoCapacityError("The message could not be recorded: the disk of the service is full. Send it again.")
        sandbox.was_used()
        if sandbox.title is None and role == "user" and (title := title_of(said.message)) is not None:
            await services.sandboxes.update(self.who.tenant.id, sandbox_id, title=title)
        await self.answer(RecordedCell(cell_id=cell_id), 201)
