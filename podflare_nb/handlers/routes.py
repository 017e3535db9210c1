"""The whole API on one screen: every URL below the server's base URL, and who answers it."""

from __future__ import annotations

from typing import Any

from . import branches, chat, exec, files, info, notebook, page, sandboxes  # noqa: A004 - the call is named exec
from .base import UnknownRouteHandler

BASE = r"/podflare"
SANDBOXES = BASE + r"/v1/sandboxes"
SANDBOX = SANDBOXES + r"/([^/]+)"
TURN = SANDBOX + r"/chat/([^/]+)"

ROUTES: list[tuple[Any, ...]] = [
    (BASE + r"/?", page.PageHandler),
    (BASE + r"/static/(.*)", page.AssetHandler, {"path": str(page.ASSETS)}),
    (BASE + r"/v1/healthz", info.HealthHandler),
    (BASE + r"/v1/capabilities", info.CapabilitiesHandler),
    (BASE + r"/v1/templates", info.TemplatesHandler),
    (SANDBOXES, sandboxes.SandboxesHandler),
    (SANDBOX, sandboxes.SandboxHandler),
    (SANDBOX + r"/fork", branches.ForkHandler),
    (SANDBOX + r"/merge_into/([^/]+)", branches.MergeHandler),
    (SANDBOX + r"/diff", branches.DiffHandler),
    (SANDBOX + r"/rewind", branches.RewindHandler),
    (SANDBOX + r"/branches", branches.BranchesHandler),
    (SANDBOX + r"/exec", exec.ExecHandler),
    (SANDBOX + r"/interrupt", exec.InterruptHandler),
    (SANDBOX + r"/replay", exec.ReplayHandler),
    (SANDBOX + r"/files(?:/(.*))?", files.FilesHandler),
    (SANDBOX + r"/chat", chat.ChatHandler),
    (TURN + r"/events", chat.TurnEventsHandler),
    (TURN + r"/cancel", chat.TurnCancelHandler),
    (TURN + r"/approve", chat.TurnApproveHandler),
    (SANDBOX + r"/notebook(\.ipynb)?", notebook.NotebookHandler),
    (SANDBOX + r"/notebook\.(html|md|py)", notebook.NotebookExportHandler),
    (BASE + r"/.*", UnknownRouteHandler),
]
