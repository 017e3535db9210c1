"""``podflare-nb ports``: what a sandbox serves, and links to show it."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options, tables
from .api import Api


def ports(  # noqa: PLR0913, PLR0917 - one parameter per option
    sandbox: Annotated[str, typer.Argument(help="The sandbox's id, as 'sandboxes list' shows it.", show_default=False)],
    link: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Print a link that shows this port.", show_default=False)
    ] = None,
    seconds: Annotated[int, typer.Option(min=1, max=86_400, help="How long the link is valid.")] = 3600,
    revoke: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="End all links of this port.", show_default=False)
    ] = None,
    url: options.Url = None,
    key: options.Key = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """List what listens in a sandbox, with the URLs at which you reach it in a browser that is logged in.

    Example: podflare-nb ports sbx_4f1c... --link 8000
    """
    if link is not None and revoke is not None:
        raise typer.BadParameter("Say --link or --revoke, not both.")
    with Api.of(url, key, data_dir) as api:
        if revoke is not None:
            api.call("DELETE", f"sandboxes/{sandbox}/ports/{revoke}/links")
            typer.echo(f"The links to port {revoke} have ended.")
        elif link is not None:
            made = api.call("POST", f"sandboxes/{sandbox}/ports/{link}/links", {"expires_seconds": seconds})
            if as_json:
                tables.show([made], as_json=True, empty="")
            else:
                typer.echo(made["url"])
                typer.echo(f"Valid until {tables.moment(made['expires_at'])}.", err=True)
        else:
            found = api.call("GET", f"sandboxes/{sandbox}/ports")
            tables.show(found, as_json=as_json, empty="Nothing listens in this sandbox.")
