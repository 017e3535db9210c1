"""The notebook as it goes over the wire: nbformat 4.5 as types, and outputs while they are live.

These are what the OpenAPI document tells; notebooks and outputs themselves are made as plain JSON, piece by piece
(``transcripts``, ``sandboxes.outputs``), and what is sent is held against these types in tests. ``exec_events`` and
``chat_events`` stand above.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .responses import Response

MimeBundle = dict[str, Any]
"""By MIME type: text, base64 of what is binary, or JSON for JSON's own types."""


class StreamOutput(Response):
    """What was printed."""

    output_type: Literal["stream"]
    name: Literal["stdout", "stderr"]
    text: str


class DisplayOutput(Response):
    """What was displayed. ``transient`` (its ``display_id``) only while it is live."""

    output_type: Literal["display_data"]
    data: MimeBundle
    metadata: dict[str, Any]
    transient: dict[str, Any] = Field(default_factory=dict)


class ResultOutput(Response):
    """The value of a cell's last expression."""

    output_type: Literal["execute_result"]
    data: MimeBundle
    metadata: dict[str, Any]
    execution_count: int | None
    transient: dict[str, Any] = Field(default_factory=dict)


class ErrorOutput(Response):
    """An exception."""

    output_type: Literal["error"]
    ename: str
    evalue: str
    traceback: list[str]


class DisplayUpdate(Response):
    """A change of an earlier display of the same ``transient.display_id``; live only."""

    output_type: Literal["update_display_data"]
    data: MimeBundle
    metadata: dict[str, Any]
    transient: dict[str, Any] = Field(default_factory=dict)


class ClearOutput(Response):
    """All outputs before are taken back, at once or (``wait``) when the next one comes; live only."""

    output_type: Literal["clear_output"]
    wait: bool


Output = Annotated[
    StreamOutput | DisplayOutput | ResultOutput | ErrorOutput,
    Field(discriminator="output_type"),
]
LiveOutput = Annotated[
    StreamOutput | DisplayOutput | ResultOutput | ErrorOutput | DisplayUpdate | ClearOutput,
    Field(discriminator="output_type"),
]


class MarkdownCell(Response):
    """What somebody said. ``source``: its lines; ``metadata.podflare_nb``: whose it is."""

    cell_type: Literal["markdown"]
    id: str
    metadata: dict[str, Any]
    source: list[str]


class CodeCell(Response):
    """What was run. ``metadata.podflare_nb``: by whom, and how it ended."""

    cell_type: Literal["code"]
    id: str
    execution_count: int | None
    metadata: dict[str, Any]
    outputs: list[Output]
    source: list[str]


class Notebook(Response):
    """A notebook, nbformat 4.5. ``metadata.podflare_nb``: its sandbox and turns."""

    cells: list[Annotated[MarkdownCell | CodeCell, Field(discriminator="cell_type")]]
    metadata: dict[str, Any]
    nbformat: Literal[4]
    nbformat_minor: Literal[5]
