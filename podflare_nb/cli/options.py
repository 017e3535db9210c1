"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..protocol import egress as policies

DataDir = Annotated[
    Path | None,
    typer.Option(
        envvar="PODFLARE_NB_DATA_DIR",
        help="Where the service keeps its database and notebooks. Default: ~/.local/share/podflare_nb",
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        envvar=["PODFLARE_NB_URL", "PODFLARE_HOST"],
        help="The service, as http://127.0.0.1:8888/podflare. Default: the one that runs here.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar=["PODFLARE_NB_API_KEY", "PODFLARE_API_KEY"],
        help="The API key. Default: the one of the service that runs here.",
        show_default=False,
    ),
]
Egress = Annotated[
    str | None,
    typer.Option(
        metavar="true|false|RULES",
        help="What a new sandbox may reach: the public internet, nothing, or rules with commas: "
        "files.example.org,*.example.com:443. Default: the service's.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def egress_body(written: str | None) -> bool | dict[str, list[str]] | None:
    """The policy of ``--egress``, for a request. Raises InvalidArgumentError."""
    return None if written is None else policies.Egress.written(written).to_json()
