"""Installing packages in a sandbox."""

from __future__ import annotations

import secrets

from tornado import web

from ..errors import ConflictError
from ..protocol.packages import InstallPackages
from ..protocol.requests import Exec, ExecutionOptions
from ..sandboxes.exec_events import encode
from ..sandboxes.execution import Execution
from ..sandboxes.packages import Installation, steps
from .authorization import authorized
from .exec import NDJSON, execution_request, failure_line, now_ms
from .streaming import StreamingHandler


class PackagesHandler(StreamingHandler):
    """``POST /v1/sandboxes/{id}/packages``: NDJSON events, as of the cells that install."""

    @web.authenticated
    @authorized("execute", resource="podflare_nb:executions")
    async def post(self, sandbox_id: str) -> None:
        """Install. A client that goes away before the end cancels what runs."""
        request = self.read(InstallPackages)
        services = await self.services()
        sandbox = services.sandboxes.get(self.who.tenant.id, sandbox_id)
        wanted = steps(apt=request.apt, python=request.python, npm=request.npm)
        if sandbox.egress.mode == "off":
            raise ConflictError(
                "This sandbox's egress is off, so nothing can be installed. Let it reach the indexes of packages first "
                '(PATCH it with {"egress": true}).'
            )
        keeps_states = sandbox.checkpoints.most > 0
        options = request.model_dump(include=set(ExecutionOptions.model_fields))
        if keeps_states and not request.turn_id:
            options["turn_id"] = f"turn_{secrets.token_hex(16)}"

        async def start(code: str) -> Execution:
            cell = Exec(code=code, language="bash", **options)
            return await sandbox.execute(execution_request(cell, self.who.principal, keeps_states=keeps_states))

        installation = Installation(wanted, start, now_ms)
        await installation.begin()
        self.begin_stream(NDJSON)
        try:
            async for events in installation.events():
                await self.send(encode(events))
        except Exception as error:
            if not self._headers_written:
                raise
            self.log_exception(type(error), error, error.__traceback__)
            self.write(failure_line(error))
        finally:
            installation.cancel()
        await self.finish_stream()
