"""The whole API on one screen: every URL below the server's base URL, and who answers it."""

from __future__ import annotations

from typing import Any

from . import (
    branches,
    chat,
    exec,  # noqa: A004 - the call is named exec
    files,
    info,
    mcp,
    network,
    notebook,
    openapi,
    packages,
    page,
    port_proxy,
    ports,
    record,
    sandboxes,
    terminals,
)
from .base import UnknownRouteHandler

BASE = r"/podflare"
SANDBOXES = BASE + r"/v1/sandboxes"
SANDBOX = SANDBOXES + r"/([^/]+)"
TURN = SANDBOX + r"/chat/([^/]+)"
TERMINAL = SANDBOX + r"/pty/([^/]+)"

ROUTES: list[tuple[Any, ...]] = [
    (BASE + r"/?", page.PageHandler),
    (BASE + r"/static/(.*)", page.AssetHandler, {"path": str(page.ASSETS)}),
    (BASE + r"/v1/healthz", info.HealthHandler),
    (BASE + r"/v1/openapi.json", openapi.OpenapiHandler),
    (BASE + r"/v1/capabilities", info.CapabilitiesHandler),
    (BASE + r"/v1/templates", info.TemplatesHandler),
    (BASE + r"/mcp", mcp.McpHandler),
    (SANDBOXES, sandboxes.SandboxesHandler),
    (SANDBOX, sandboxes.SandboxHandler),
    (SANDBOX + r"/fork", branches.ForkHandler),
    (SANDBOX + r"/merge_into/([^/]+)", branches.MergeHandler),
    (SANDBOX + r"/diff", branches.DiffHandler),
    (SANDBOX + r"/rewind", branches.RewindHandler),
    (SANDBOX + r"/branches", branches.BranchesHandler),
    (SANDBOX + r"/exec", exec.ExecHandler),
    (SANDBOX + r"/packages", packages.PackagesHandler),
    (SANDBOX + r"/record", record.RecordHandler),
    (SANDBOX + r"/interrupt", exec.InterruptHandler),
    (SANDBOX + r"/replay", exec.ReplayHandler),
    (SANDBOX + r"/network", network.NetworkHandler),
    (SANDBOX + r"/files", files.WorkspaceHandler),
    (SANDBOX + r"/files/(.*)", files.FilesHandler),
    (SANDBOX + r"/pty", terminals.TerminalsHandler),
    (TERMINAL + r"/attach", terminals.AttachHandler),
    (TERMINAL + r"/input", terminals.InputHandler),
    (TERMINAL + r"/resize", terminals.ResizeHandler),
    (TERMINAL + r"/kill", terminals.KillHandler),
    (TERMINAL + r"/read", terminals.ReadHandler),
    (SANDBOX + r"/ports", ports.PortsHandler),
    (SANDBOX + r"/ports/([^/]+)/links", ports.PortLinksHandler),
    (SANDBOX + r"/chat", chat.ChatHandler),
    (TURN + r"/events", chat.TurnEventsHandler),
    (TURN + r"/cancel", chat.TurnCancelHandler),
    (TURN + r"/approve", chat.TurnApproveHandler),
    (SANDBOX + r"/notebook(\.ipynb)?", notebook.NotebookHandler),
    (SANDBOX + r"/notebook\.(html|md|py)", notebook.NotebookExportHandler),
    (BASE + r"/sandboxes/([^/]+)/ports/([^/]+)(?:/.*)?", port_proxy.PortHandler),
    (BASE + r"/.*", UnknownRouteHandler),
]
