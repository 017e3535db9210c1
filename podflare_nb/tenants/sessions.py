"""Jupyter's ``/api/sessions`` for tenants: which notebook is open on which kernel, each tenant's by itself.

A notebook's path is a name here and nothing more: the service has no files of a tenant's. Sessions live as long as
the server, as Jupyter's do.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from jupyter_client.multikernelmanager import DuplicateKernelError
from jupyter_server.services.sessions.sessionmanager import SessionManager
from tornado import web

from .kernels import requester

MOST_SESSIONS = 200
"""Of one tenant at once."""
COLUMNS = "(session_id, path, name, type, kernel_id)"


class TenantSessionManager(SessionManager):
    """Jupyter's sessions, a table for each user."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call] # Jupyter's
        self._tables: dict[str, sqlite3.Cursor] = {}

    @property
    def cursor(self) -> sqlite3.Cursor:
        """The table of whoever asks; every method of the base class works on it."""
        owner = requester()
        if owner is None:
            raise web.HTTPError(404, "Sessions are a user's.")
        if owner not in self._tables:
            connection = sqlite3.connect(":memory:", isolation_level=None)
            connection.row_factory = sqlite3.Row
            self._tables[owner] = connection.execute(f"CREATE TABLE session {COLUMNS}")
        return self._tables[owner]

    async def create_session(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Open a session. Raises DuplicateKernelError, which Jupyter's handler answers with 409 and the sentence."""
        count: int = self.cursor.execute("SELECT count(*) FROM session").fetchone()[0]
        if count >= MOST_SESSIONS and len(await self.list_sessions()) >= MOST_SESSIONS:  # type: ignore[no-untyped-call] # Jupyter's
            raise DuplicateKernelError(f"You have {MOST_SESSIONS} sessions; delete one to open another.")
        return await super().create_session(*args, **kwargs)

    async def start_kernel_for_session(  # noqa: PLR0913, PLR0917 - Jupyter's signature
        self,
        session_id: str,
        path: str | None,
        name: str | None,
        type: str | None,  # noqa: A002 - Jupyter's name
        kernel_name: str | None,
        kernel_id: str | None = None,
    ) -> str:
        """Start a kernel for a session; neither the service's files nor its environment are for it."""
        del session_id, path, name, type
        kernel: str = await self.kernel_manager.start_kernel(kernel_name=kernel_name, kernel_id=kernel_id)
        return kernel

    def close(self) -> None:
        """Forget all."""
        tables, self._tables = self.__dict__.get("_tables", {}), {}
        for cursor in tables.values():
            cursor.connection.close()
