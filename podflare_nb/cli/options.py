"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
        envvar="PODFLARE_HOST",
        help="The service, as http://127.0.0.1:8888/podflare. Default: the one that runs here.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="PODFLARE_API_KEY",
        help="The API key. Default: the one of the service that runs here.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
