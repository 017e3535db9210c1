"""``podflare-nb doctor``: what this machine offers for the jail, layer by layer, and what to do where it does not."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import typer

from ..provisioning import internet
from ..provisioning.jail import layers
from . import options

GOOD, BAD = "yes", "NO"


def doctor(as_json: options.Json = False) -> int:  # noqa: FBT002 - a flag of the command line
    """Say which layers of the jail this machine offers, and whether sandboxes can have the internet.

    Exits 1 when a layer is missing without which the service does not start.

    Example: podflare-nb doctor
    """
    found = [*layers.probe(), internet.probe()]
    missing = [layer for layer in found if layer.required and not layer.available]
    if as_json:
        typer.echo(json.dumps([asdict(layer) for layer in found], indent=2))
        return 1 if missing else 0
    width = max(len(layer.name) for layer in found)
    typer.echo(f"podflare_nb on Python {sys.version.split()[0]}: the layers of the jail on this machine\n")
    for layer in found:
        colour = typer.colors.GREEN if layer.available else typer.colors.RED
        mark = typer.style((GOOD if layer.available else BAD).ljust(4), fg=colour, bold=True)
        typer.echo(f"  {mark} {layer.name.ljust(width)}  {layer.detail}")
    wanting = [layer for layer in found if not layer.required and not layer.available]
    if not missing:
        typer.echo("\nEverything is there: 'podflare-nb serve' isolates every sandbox.")
        for layer in wanting:
            typer.echo(f"  - {layer.name}: {layer.remedy}")
        return 0
    typer.echo("\n'podflare-nb serve' refuses to start like this. What to do:")
    for remedy in dict.fromkeys(layer.remedy for layer in missing if layer.remedy):
        typer.echo(f"  - {remedy}")
    return 1
