"""``podflare-nb sandboxes``: see which there are, close them, see and change what they may reach."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from ..protocol.egress import Egress
from . import options, tables
from .api import Api
from .family_tree import arranged

app = typer.Typer(name="sandboxes", help="List sandboxes, close them, see what they reach.", no_args_is_help=True)
PAGE = 100


@app.command("list")
def list_(  # noqa: PLR0913, PLR0917 - one parameter per option
    everything: Annotated[bool, typer.Option("--all", "-a", help="Closed ones, too.")] = False,  # noqa: FBT002 - a flag
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = PAGE,
    url: options.Url = None,
    key: options.Key = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """List sandboxes, newest first, each branch below the one that it was forked from."""
    with Api.of(url, key, data_dir) as api:
        found = fetch(api, limit, everything=everything)
    rows = found if as_json else [_row(lines, sandbox) for lines, sandbox in arranged(found)]
    tables.show(rows, as_json=as_json, empty="There are no sandboxes; 'podflare-nb chat' makes one.")


def fetch(api: Api, limit: int, *, everything: bool) -> list[dict[str, Any]]:
    """Fetch up to ``limit`` sandboxes, page by page."""
    found: list[dict[str, Any]] = []
    cursor = None
    while len(found) < limit:
        page = api.call(
            "GET",
            "sandboxes",
            limit=min(PAGE, limit - len(found)),
            cursor=cursor,
            include_closed="true" if everything else None,
        )
        found += page["sandboxes"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return found


@app.command()
def close(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids, as 'sandboxes list' shows them.")] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Close all that are live.")] = False,  # noqa: FBT002 - a flag
    url: options.Url = None,
    key: options.Key = None,
    data_dir: options.DataDir = None,
) -> None:
    """Close sandboxes: their processes end and their files go; their notebooks stay.

    Example: podflare-nb sandboxes close sbx_4f1c...
    """
    if bool(ids) == everything:
        raise typer.BadParameter("Name the sandboxes to close, or say --all.")
    with Api.of(url, key, data_dir) as api:
        chosen = ids or [sandbox["id"] for sandbox in fetch(api, 100_000, everything=False)]
        for sandbox_id in chosen:
            api.call("DELETE", f"sandboxes/{sandbox_id}")
            typer.echo(f"Closed {sandbox_id}.")


@app.command()
def network(  # noqa: PLR0913, PLR0917 - one parameter per option
    sandbox: Annotated[str, typer.Argument(help="Its id.")],
    egress: Annotated[
        str | None,
        typer.Option(
            metavar="true|false|RULES",
            help="Let it, and all branches of its family, reach this from now on; see 'podflare-nb chat --help'.",
            show_default=False,
        ),
    ] = None,
    url: options.Url = None,
    key: options.Key = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Show what a sandbox may reach, and its last connections; with --egress, change it first.

    Example: podflare-nb sandboxes network sbx_4f1c... --egress pypi.org,files.pythonhosted.org
    """
    with Api.of(url, key, data_dir) as api:
        if egress is not None:
            api.call("PATCH", f"sandboxes/{sandbox}", {"egress": options.egress_body(egress)})
        found = api.call("GET", f"sandboxes/{sandbox}/network")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    reached = Egress.from_json(found["egress"])
    typer.echo(f"It may reach {reached if reached.mode != 'off' else 'nothing'}.")
    typer.echo(f"Sent {found['sent_bytes'] or 0:,} bytes, received {found['received_bytes'] or 0:,}.")
    rows = [_connection(connection) for connection in found["connections"][-PAGE:]]
    tables.show(rows, as_json=False, empty="It has made no connections.")


def _connection(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": tables.moment(told["at"]),
        "verdict": told["verdict"],
        "protocol": told["protocol"],
        "host": told["host"],
        "port": told["port"],
        "sent": told["sent"],
        "received": told["received"],
        "reason": told["reason"],
    }


def _row(lines: str, sandbox: dict[str, Any]) -> dict[str, Any]:
    end = sandbox.get("end")
    return {
        "id": lines + sandbox["id"],
        "state": f"{sandbox['state']} ({end['reason']})" if end else sandbox["state"],
        "template": sandbox["template"],
        "created": tables.moment(sandbox["created_at"]),
        "title": sandbox["title"],
    }
