"""``podflare-nb terminal``: a terminal of a sandbox in one's own.

``own_terminal`` is this side of it, ``terminal_session`` what goes back and forth.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from ..errors import PodflareError
from . import options
from .api import Api
from .own_terminal import OwnTerminal
from .terminal_session import TerminalSession


def terminal(  # noqa: PLR0913, PLR0917 - one parameter per option
    sandbox: Annotated[
        str | None, typer.Argument(help="The sandbox's id; without one, a new one.", show_default=False)
    ] = None,
    command: Annotated[
        str | None, typer.Option("--command", "-c", help="What bash is to run; without, a login shell.")
    ] = None,
    attach: Annotated[
        str | None, typer.Option(help="Take up this terminal of the sandbox instead of a new one.", show_default=False)
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Make the new sandbox from this template.", show_default=False)
    ] = None,
    egress: options.Egress = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave a new sandbox open at the end.")] = False,  # noqa: FBT002 - a flag
    url: options.Url = None,
    key: options.Key = None,
    data_dir: options.DataDir = None,
) -> int:
    """Open a terminal in a sandbox; ends with the exit code of what ran there. Ctrl-] leaves it running.

    Example: podflare-nb terminal -c "pytest -q"
    """
    if attach and (sandbox is None or command is not None):
        raise typer.BadParameter("--attach takes the id of a sandbox and no --command.")
    own = OwnTerminal()
    if not (own.is_terminal or command or attach):
        raise typer.BadParameter("Standard input is no terminal; name what is to run with --command.")
    with Api.of(url, key, data_dir) as api:
        wanted = {"template": template, "egress": options.egress_body(egress)}
        chosen = sandbox or api.call("POST", "sandboxes", wanted)["id"]
        ends = sandbox is None and not keep
        try:
            session = TerminalSession(api, chosen, own)
            code = session.attach(attach) if attach else session.create(command)
        finally:
            if ends:
                # What the service refuses here, it has ended before.
                with suppress(PodflareError):
                    api.call("DELETE", f"sandboxes/{chosen}")
        if code is None and not ends:
            typer.echo(f"It runs on: podflare-nb terminal {chosen} --attach {session.pty_id}", err=True)
        elif sandbox is None and keep:
            typer.echo(f"The sandbox is kept: {chosen}", err=True)
    return code or 0
