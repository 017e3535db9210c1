"""``podflare-nb export``: write a sandbox's notebook to a file, or to the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from ..errors import InvalidArgumentError
from . import options
from .api import Api

Format = Literal["ipynb", "html", "md", "py"]


def export(  # noqa: PLR0913, PLR0917 - one parameter per option
    sandbox: Annotated[str, typer.Argument(help="The sandbox's id; a closed one will do.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; - for the terminal.", show_default=False)
    ] = None,
    kind: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Default: as the file's name says, else ipynb.", show_default=False),
    ] = None,
    url: options.Url = None,
    key: options.Key = None,
    data_dir: options.DataDir = None,
) -> None:
    """Write a sandbox's notebook as .ipynb, .html, .md or .py.

    Example: podflare-nb export sbx_4f1c... -o report.html
    """
    chosen = kind or _kind_of(output)
    with Api.of(url, key, data_dir) as api:
        content = api.content("GET", f"sandboxes/{sandbox}/notebook.{chosen}")
    if output == Path("-"):
        sys.stdout.buffer.write(content)
        return
    path = output or Path(f"{sandbox}.{chosen}")
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InvalidArgumentError(f"{path} cannot be written: {error.strerror}.") from error
    typer.echo(f"Wrote {path} ({len(content)} bytes).")


def _kind_of(output: Path | None) -> Format:
    suffix = output.suffix if output else ""
    kinds: dict[str, Format] = {f".{kind}": kind for kind in get_args(Format)}
    if suffix and suffix not in kinds:
        raise InvalidArgumentError(
            f"A notebook is not written as {suffix}; name a file in {', '.join(kinds)}, or the form with --format."
        )
    return kinds.get(suffix, "ipynb")
