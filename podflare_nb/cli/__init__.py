"""The ``podflare-nb`` command: run the service, look at what the machine offers, talk to a sandbox from a terminal.

``serve`` builds the service; every other command that needs one is a client of a running one, over HTTP.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from .. import __version__
from ..errors import PodflareError
from . import chat, doctor, export, keys, mcp, ports, sandboxes, serve, templates, terminal

INTERRUPTED = 130

app = typer.Typer(
    name="podflare-nb",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - Typer's signature
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    _version: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Notebooks you can chat with: isolated, forkable Jupyter kernels behind an HTTP API."""


app.command()(serve.serve)
app.command()(doctor.doctor)
app.command()(chat.chat)
app.command()(export.export)
app.command()(mcp.mcp)
app.command()(ports.ports)
app.command()(templates.templates)
app.command()(terminal.terminal)
app.add_typer(sandboxes.app)
app.add_typer(keys.app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; whatever goes wrong is one sentence on standard error and a code that is not 0."""
    try:
        code = app(list(arguments), prog_name="podflare-nb", standalone_mode=False)
    except PodflareError as error:
        return _fail(error.message, 1)
    except TyperException as error:
        # No arguments at all: the message is the help.
        return _fail(error.format_message(), error.exit_code) if error.format_message() else error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough (``| head``).
        sys.stderr.close()
        return 0
    except (Abort, KeyboardInterrupt):
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"podflare-nb: {message}\n")
    return code
