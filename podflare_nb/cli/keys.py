"""``podflare-nb keys``: make, list and revoke API keys. Works on the database: with or without a running service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import default_data_dir
from ..tenants.tenant import LOCAL_TENANT_ID
from . import options, tables

if TYPE_CHECKING:
    from ..tenants.key_ring import KeyRing

app = typer.Typer(name="keys", help="Make, list and revoke API keys.", no_args_is_help=True)


@contextmanager
def _ring(data_dir: Path | None) -> Iterator[KeyRing]:
    # SQLAlchemy takes as long to load as all the rest of the command line; no other command of a client needs it.
    from ..tenants.key_ring import open_key_ring  # noqa: PLC0415 - see above

    with open_key_ring(data_dir or default_data_dir(), clock=lambda: datetime.now(UTC)) as ring:
        yield ring


@app.command()
def create(
    label: Annotated[str, typer.Argument(help="What the key is for.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose key it is; made when there is no such tenant.")] = LOCAL_TENANT_ID,
    max_sandboxes: Annotated[
        int | None, typer.Option(min=1, help="Set how many sandboxes the tenant may have at once.")
    ] = None,
    max_memory_mib: Annotated[
        int | None, typer.Option(min=128, help="Set how much memory its sandboxes may have together.")
    ] = None,
    data_dir: options.DataDir = None,
) -> None:
    """Make a key and print it: it is shown this once.

    Example: podflare-nb keys create "ci runner" --tenant build
    """
    with _ring(data_dir) as ring:
        ring.ensure_tenant(tenant, max_sandboxes=max_sandboxes, max_memory_mib=max_memory_mib)
        _, secret = ring.create(tenant, label=label)
    typer.echo(secret)


@app.command("list")
def list_(data_dir: options.DataDir = None, as_json: options.Json = False) -> None:  # noqa: FBT002 - a flag of the command line
    """List keys: never the keys themselves, which nobody knows."""
    with _ring(data_dir) as ring:
        rows = [
            {
                "id": key.id,
                "tenant": key.tenant_id,
                "label": key.label,
                "created": tables.moment(key.created_at),
                "last used": tables.moment(key.last_used_at),
                "revoked": tables.moment(key.revoked_at),
            }
            for key in ring.all_keys()
        ]
    tables.show(rows, as_json=as_json, empty="There are no keys yet; 'podflare-nb serve' makes one.")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as 'keys list' shows it.")],
    data_dir: options.DataDir = None,
) -> None:
    """Revoke a key: from now on it is refused, and whoever logged in with it is logged out."""
    with _ring(data_dir) as ring:
        ring.revoke(key_id)
    typer.echo(f"Revoked {key_id}.")
