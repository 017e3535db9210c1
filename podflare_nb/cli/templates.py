"""``podflare-nb templates``: what sandboxes can be made from."""

from __future__ import annotations

from . import options, tables
from .api import Api


def templates(
    url: options.Url = None,
    key: options.Key = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """List templates and whether they are ready."""
    with Api.of(url, key, data_dir) as api:
        found = api.call("GET", "templates")["templates"]
    rows = (
        found
        if as_json
        else [
            {
                "name": template["name"] + (" (default)" if template["default"] else ""),
                "state": template["state"],
                "memory": f"{template['limits']['memory_mib']} MiB",
                "idle": f"{template['idle_timeout_seconds'] // 60} min",
                "description": template["description"],
            }
            for template in found
        ]
    )
    tables.show(rows, as_json=as_json, empty="There are no templates.")
