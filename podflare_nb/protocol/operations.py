"""Every call of the API as a record: method, path, what it takes, what it answers. ``openapi`` writes the table out.

``handlers.routes`` says who answers a call; a test holds both together. Not a router. Stands on the wire types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import chat_events, exec_events, notebook, packages, ports, requests, responses, terminals

JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
ANY_TYPE = "*/*"

Schema = dict[str, Any]
Body = type[responses.Response] | Schema | Any
"""A wire type, a union of them, or a JSON schema."""

BINARY: Schema = {"type": "string", "format": "binary"}
STRING: Schema = {"type": "string"}
SHORT: Schema = {"type": "string", "minLength": 1}
FLAG: Schema = {"type": "boolean"}
SSE_EVENT: Schema = {"description": "The data of each event is a ChatEvent in JSON, or an event of another protocol."}


@dataclass(frozen=True, slots=True)
class Header:
    """A header of an answer."""

    name: str
    description: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a call; ``place``: path, query or header."""

    name: str
    place: str
    description: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: ``bodies`` by media type, none for an answer without a body."""

    status: int
    description: str
    bodies: dict[str, Body]
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. ``refusals``: statuses of ``REFUSALS`` beside those that every call may answer.

    ``body`` is a request of ``requests``, or a schema (bytes). ``cached``: also answers 304, to ``If-None-Match``.
    """

    method: str
    path: str
    name: str
    tag: str
    summary: str
    answers: tuple[Answer, ...]
    refusals: tuple[int, ...] = ()
    body: type[requests.Request] | Schema | None = None
    parameters: tuple[Parameter, ...] = ()
    cached: bool = False
    public: bool = False


REFUSALS = {
    400: ("InvalidArgument", "The request is wrong; the sentence names the field and what it may be."),
    401: ("Unauthenticated", "No key, or one that is not known."),
    403: ("Forbidden", "Known, but not allowed."),
    404: ("NotFound", "No such thing of yours; or it was merged into `details.merged_into` (code `merged`)."),
    409: ("Conflict", "The state of the thing does not allow it now."),
    410: ("Gone", "It has ended; `details.reason` tells why."),
    413: ("TooLarge", "Over the limit that the sentence names."),
    416: ("RangeNotSatisfiable", "The range begins behind the file's end; `details.size` is the file's."),
    429: ("QuotaExceeded", "Your quota is used up."),
    500: ("Internal", "A fault of the service, not of the request."),
    503: ("NoCapacity", "The service cannot do it now."),
}
"""Name in the document, and when; bodies are ``responses.ErrorBody``."""

PUBLIC_REFUSALS = (403, 500, 503)
COMMON_REFUSALS = (401, *PUBLIC_REFUSALS)
ENDED = (404, 410)
"""There is none, or it is over."""
CHANGE = (400, 409, 413)

SANDBOX_ID = Parameter("sandbox_id", "path", "A sandbox.", SHORT)
TURN_ID = Parameter("turn_id", "path", "A turn of its chat.", SHORT)
PTY_ID = Parameter("pty_id", "path", "A terminal of it.", SHORT)
WINNER_ID = Parameter("winner_id", "path", "The branch whose state is kept.", SHORT)
PORT = Parameter("port", "path", "A TCP port of it.", {"type": "integer", "minimum": 1, "maximum": 65535})
PATH = Parameter("path", "path", "A path in the workspace; its slashes as they are, or as `%2F`.", SHORT)
BY_PATH = {each.name: each for each in (SANDBOX_ID, TURN_ID, PTY_ID, WINNER_ID, PORT, PATH)}

SINCE_SEQ = Parameter("since_seq", "query", "Only what comes after this event.", {"type": "integer", "minimum": 0})
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "The same key again, with the same request, within 24 hours: the same answer, and nothing is made twice.",
    {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"},
)
IF_NONE_MATCH = Parameter("If-None-Match", "header", "An ETag of an earlier answer.", STRING)
RANGE = Parameter("Range", "header", "`bytes=first-last`: only these bytes of a file.", STRING)
IF_RANGE = Parameter("If-Range", "header", "The ETag that the file must still have; else all of it is sent.", STRING)
LAST_EVENT_ID = Parameter("Last-Event-ID", "header", "As `after`; what a browser's EventSource sends.", STRING)
AFTER = Parameter(
    "after", "query", "The seq of the last event that you have; -1: all.", {"type": "integer", "minimum": -1}
)
FORMAT = Parameter(
    "format",
    "query",
    "The form of the events; without it, by `Accept`: NDJSON or server-sent events.",
    {"type": "string", "enum": ["ndjson", "sse", "vercel", "ag-ui"]},
)
DOWNLOAD = Parameter("download", "query", "True: as a file to keep.", FLAG)

REPLAYED = Header(
    "Idempotency-Replayed", "`true`: this is the answer to an earlier request of that key.", required=False
)
ETAG = Header("ETag", "For `If-None-Match`.")
NO_STORE = (Header("Cache-Control", "`no-store`."), Header("X-Accel-Buffering", "`no`: for proxies."))
OF_TURN = (
    *NO_STORE,
    Header("X-Turn-Id", "The turn's id."),
    Header("x-vercel-ai-ui-message-stream", "`v1`, with `format=vercel`.", required=False),
)
OF_FILE = (
    Header("ETag", "Of a file.", required=False),
    Header("Last-Modified", "Of a file.", required=False),
    Header("Content-Length", "Bytes.", required=False),
    Header("Accept-Ranges", "Of a file: `bytes`.", required=False),
    Header("Content-Range", "Of a part: which bytes, of how many.", required=False),
    Header("Content-Disposition", "A file is an attachment.", required=False),
    Header("Content-Security-Policy", "Of a file: a browser does nothing with it.", required=False),
    Header("Cache-Control", "Of a file: `no-cache`.", required=False),
)
OF_EXPORT = (
    *NO_STORE,
    Header("Content-Security-Policy", "A browser runs nothing of it.", required=False),
    Header("Content-Disposition", "With `download`: an attachment.", required=False),
)


def told(body: Body, description: str = "Done.", status: int = 200, headers: tuple[Header, ...] = ()) -> Answer:
    """An answer in JSON."""
    return Answer(status, description, {JSON: body}, headers)


ACCEPTED = told(responses.Accepted, "It has begun.", 202)
NOTHING = Answer(204, "Done.", {})
EXEC_STREAM = Answer(
    200, "Events, one JSON object a line, each sent as it happens.", {NDJSON: exec_events.ExecEvent}, NO_STORE
)
INSTALL_STREAM = Answer(
    200, "Events, one JSON object a line, each sent as it happens.", {NDJSON: packages.InstallEvent}, NO_STORE
)
TURN_STREAM = Answer(
    200,
    "The turn's events: NDJSON, or server-sent events whose data they are (`sse`) or another protocol's (`vercel`, "
    "`ag-ui`).",
    {NDJSON: chat_events.ChatEvent, SSE: SSE_EVENT},
    OF_TURN,
)
PTY_STREAM = Answer(
    200, "Events, one JSON object a line, as long as the terminal lives.", {NDJSON: terminals.TerminalEvent}, NO_STORE
)

LISTING_OR_FILE: Schema = {"anyOf": [{"$ref": "#/components/schemas/DirectoryListing"}, {}]}
"""A file may be JSON, too."""

SANDBOXES = "/v1/sandboxes"
SANDBOX = SANDBOXES + "/{sandbox_id}"
TURN = SANDBOX + "/chat/{turn_id}"
PTY = SANDBOX + "/pty/{pty_id}"
FILE = SANDBOX + "/files/{path}"

SERVICE_CALLS = (
    Operation(
        "get", "/v1/healthz", "getHealth", "service", "Whether the service can be used",
        (Answer(200, "It can.", {TEXT: {"type": "string", "const": "ok"}}),), public=True,
    ),
    Operation(
        "get", "/v1/openapi.json", "getOpenapi", "service", "This document",
        (told({"type": "object"}, "OpenAPI 3.1.", headers=(ETAG,)),), cached=True,
    ),
    Operation(
        "get", "/v1/capabilities", "getCapabilities", "service", "What this service offers: isolation, models, limits",
        (told(responses.Capabilities, headers=(ETAG,)),), cached=True,
    ),
    Operation(
        "get", "/v1/templates", "listTemplates", "service", "Templates with their limits and state",
        (told(responses.TemplateList, headers=(ETAG,)),), cached=True,
    ),
)  # fmt: skip

SANDBOX_CALLS = (
    Operation(
        "get", SANDBOXES, "listSandboxes", "sandboxes", "Your sandboxes, newest first, a page at a time",
        (told(responses.SandboxPage, headers=(ETAG,)),), (400,), cached=True,
        parameters=(
            Parameter("limit", "query", "How many at most.", {"type": "integer", "minimum": 1, "maximum": 200}),
            Parameter("cursor", "query", "`next_cursor` of the page before.", STRING),
            Parameter("include_closed", "query", "Also those that have ended.", FLAG),
        ),
    ),
    Operation(
        "post", SANDBOXES, "createSandbox", "sandboxes", "Make a sandbox; it is ready when this answers",
        (told(responses.SandboxInfo, "The sandbox.", headers=(REPLAYED,)),), (*CHANGE, 404, 429),
        requests.CreateSandbox, (IDEMPOTENCY_KEY,),
    ),
    Operation(
        "get", SANDBOX, "getSandbox", "sandboxes", "A sandbox, live or ended",
        (told(responses.SandboxInfo, headers=(ETAG,)),), (404,), cached=True,
    ),
    Operation(
        "patch", SANDBOX, "updateSandbox", "sandboxes", "Change times, labels and egress",
        (told(responses.SandboxInfo, "The sandbox as it is now."),), (*CHANGE, *ENDED), requests.PatchSandbox,
    ),
    Operation(
        "delete", SANDBOX, "closeSandbox", "sandboxes", "End a sandbox; nothing of it is left when this answers",
        (NOTHING,), ENDED,
    ),
    Operation(
        "get", SANDBOX + "/network", "getNetwork", "sandboxes", "What it may reach, and the last connections",
        (told(responses.NetworkInfo, headers=(ETAG,)),), ENDED, cached=True,
    ),
    Operation(
        "post", SANDBOX + "/exec", "exec", "executions", "Run code, and follow it", (EXEC_STREAM,),
        (*CHANGE, *ENDED), requests.Exec,
    ),
    Operation(
        "post", SANDBOX + "/packages", "installPackages", "executions", "Install packages, and follow it",
        (INSTALL_STREAM,), (*CHANGE, *ENDED), packages.InstallPackages,
    ),
    Operation(
        "post", SANDBOX + "/record", "record", "executions", "Put what an agent said into the notebook",
        (told(responses.RecordedCell, "The cell that has it.", 201),), (400, 413, *ENDED), requests.Record,
    ),
    Operation(
        "post", SANDBOX + "/interrupt", "interrupt", "executions", "Interrupt what runs", (ACCEPTED,),
        (400, 413, *ENDED), requests.Nothing,
    ),
    Operation(
        "get", SANDBOX + "/replay", "replay", "executions", "The last 1000 events of executions", (EXEC_STREAM,), ENDED,
    ),
)  # fmt: skip

BRANCH_CALLS = (
    Operation(
        "post", SANDBOX + "/fork", "fork", "branches", "Make branches; they are ready when this answers",
        (told(responses.ForkResult, "The branches.", headers=(REPLAYED,)),), (*CHANGE, *ENDED, 429),
        requests.Fork, (IDEMPOTENCY_KEY,),
    ),
    Operation(
        "post", SANDBOX + "/merge_into/{winner_id}", "mergeInto", "branches", "Make a branch's state this sandbox's",
        (NOTHING,), (*CHANGE, *ENDED), requests.Nothing,
    ),
    Operation(
        "post", SANDBOX + "/diff", "diff", "branches", "What another branch has that this one has not",
        (told(responses.DiffResult),), (*CHANGE, *ENDED), requests.Diff,
    ),
    Operation(
        "post", SANDBOX + "/rewind", "rewind", "branches", "Back to after a turn: memory, files and notebook",
        (told(responses.RewindResult),), (*CHANGE, *ENDED, 429), requests.Rewind,
    ),
    Operation(
        "get", SANDBOX + "/branches", "listBranches", "branches", "The whole family, and what can be rewound to",
        (told(responses.BranchList, headers=(ETAG,)),), (404,), cached=True,
    ),
)  # fmt: skip

FILE_CALLS = (
    Operation(
        "get", SANDBOX + "/files", "listWorkspace", "files", "List the workspace",
        (told(responses.DirectoryListing),), (409, 413, *ENDED),
    ),
    Operation(
        "head", SANDBOX + "/files", "headWorkspace", "files", "Whether the workspace is there",
        (Answer(200, "It is.", {}),), ENDED,
    ),
    Operation(
        "get", FILE, "getFile", "files", "A file's bytes, or a directory's list",
        (Answer(200, "The file, of the type that its name tells; or the list.",
                {JSON: LISTING_OR_FILE, ANY_TYPE: BINARY}, OF_FILE),
         Answer(206, "The part of the file.", {ANY_TYPE: BINARY}, OF_FILE)),
        (*CHANGE, 416, *ENDED), parameters=(RANGE, IF_RANGE), cached=True,
    ),
    Operation(
        "head", FILE, "headFile", "files", "Type, size and age of a file", (Answer(200, "It is there.", {}, OF_FILE),),
        (400, 409, *ENDED),
    ),
    Operation(
        "put", FILE, "putFile", "files", "Write a file, whole or not at all; parents are made",
        (told(responses.FileWritten, "It is written.", 201),), (*CHANGE, *ENDED), BINARY,
    ),
    Operation(
        "delete", FILE, "deleteFile", "files", "Delete a file or a directory", (NOTHING,), (400, 409, *ENDED),
        parameters=(Parameter("recursive", "query", "Also a directory that is not empty.", FLAG),),
    ),
)  # fmt: skip

CHAT_CALLS = (
    Operation(
        "get", SANDBOX + "/chat", "listTurns", "chat", "Turns, oldest first; also of a sandbox that has ended",
        (told(responses.TurnList),), (404,),
    ),
    Operation(
        "post", SANDBOX + "/chat", "chat", "chat", "Send the agent a message, and follow its turn",
        (TURN_STREAM,), (*CHANGE, *ENDED), requests.ChatMessage, (FORMAT,),
    ),
    Operation(
        "get", TURN + "/events", "followTurn", "chat", "Take up a turn's stream", (TURN_STREAM,), (400, 404),
        parameters=(AFTER, LAST_EVENT_ID, FORMAT),
    ),
    Operation(
        "post", TURN + "/cancel", "cancelTurn", "chat", "Stop a turn", (ACCEPTED,), (400, 404, 413), requests.Nothing,
    ),
    Operation(
        "post", TURN + "/approve", "approveRun", "chat", "Say yes or no to a run that waits", (ACCEPTED,),
        (*CHANGE, 404), requests.Approval,
    ),
)  # fmt: skip

NOTEBOOK_CALLS = (
    Operation(
        "get", SANDBOX + "/notebook", "getNotebook", "notebook", "The notebook as it is now, live or ended",
        (told(notebook.Notebook, "nbformat 4.5.", headers=NO_STORE),), (404,),
    ),
    Operation(
        "get", SANDBOX + "/notebook.ipynb", "getNotebookFile", "notebook", "The same as a file to keep",
        (Answer(200, "nbformat 4.5.", {"application/x-ipynb+json": notebook.Notebook}, OF_EXPORT),), (404,),
    ),
    *(
        Operation(
            "get", f"{SANDBOX}/notebook.{suffix}", f"exportNotebook{suffix.title()}", "notebook",
            f"The notebook as {what}", (Answer(200, "The export.", {media: STRING}, OF_EXPORT),), (400, 404),
            parameters=(DOWNLOAD,),
        )
        for suffix, what, media in (
            ("html", "a page", "text/html; charset=utf-8"),
            ("md", "Markdown", "text/markdown; charset=utf-8"),
            ("py", "a Python script", "text/x-python; charset=utf-8"),
        )
    ),
)  # fmt: skip

TERMINAL_CALLS = (
    Operation(
        "get", SANDBOX + "/pty", "listTerminals", "terminals", "Terminals of a sandbox",
        (told(terminals.TerminalList),), ENDED,
    ),
    Operation(
        "post", SANDBOX + "/pty", "createTerminal", "terminals", "Open a terminal, which outlives this stream of it",
        (PTY_STREAM,), (*CHANGE, *ENDED), terminals.CreateTerminal,
    ),
    Operation(
        "get", PTY + "/attach", "attachTerminal", "terminals", "What is kept of a terminal's output, then what comes",
        (PTY_STREAM,), (400, 409, *ENDED), parameters=(SINCE_SEQ,),
    ),
    Operation(
        "post", PTY + "/input", "sendTerminalInput", "terminals", "Type into a terminal",
        (told(responses.Accepted),), (*CHANGE, *ENDED), terminals.TerminalInput,
    ),
    Operation(
        "post", PTY + "/resize", "resizeTerminal", "terminals", "Change a terminal's size",
        (told(responses.Accepted),), (*CHANGE, *ENDED), terminals.ResizeTerminal,
    ),
    Operation(
        "post", PTY + "/kill", "killTerminal", "terminals", "End a terminal's program",
        (told(responses.Accepted),), (400, 413, *ENDED), requests.Nothing,
    ),
    Operation(
        "post", PTY + "/read", "readTerminal", "terminals", "Output after a seq, waited for",
        (told(terminals.TerminalOutput),), (400, 413, *ENDED), terminals.ReadTerminal,
    ),
)  # fmt: skip

PORT_CALLS = (
    Operation(
        "get", SANDBOX + "/ports", "listPorts", "ports", "What listens in a sandbox, and where to look at it",
        (told(ports.PortList, headers=(NO_STORE[0],)),), (409, *ENDED),
    ),
    Operation(
        "post", SANDBOX + "/ports/{port}/links", "createPortLink", "ports", "A link to show a port to others",
        (told(ports.PortLink, "The link.", 201),), (*CHANGE, *ENDED), ports.CreatePortLink,
    ),
    Operation(
        "delete", SANDBOX + "/ports/{port}/links", "revokePortLinks", "ports", "End all links of a port",
        (NOTHING,), (400, *ENDED),
    ),
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (
    *SERVICE_CALLS, *SANDBOX_CALLS, *BRANCH_CALLS, *FILE_CALLS, *CHAT_CALLS, *NOTEBOOK_CALLS, *TERMINAL_CALLS,
    *PORT_CALLS,
)  # fmt: skip
