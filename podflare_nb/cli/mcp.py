"""``podflare-nb mcp``: the Model Context Protocol over standard input and output, for hosts on this machine.

A client of a running service. Standard output belongs to the protocol: everything else goes to standard error.
"""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from ..errors import PodflareError, UnauthenticatedError
from . import options
from .api import ServiceError


def mcp(
    url: Annotated[
        str | None,
        typer.Option(
            help="The service, as http://127.0.0.1:8888/podflare. Default: PODFLARE_NB_URL, else the one here.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            help="The API key. Default: PODFLARE_NB_API_KEY, else the one of the service that runs here.",
            show_default=False,
        ),
    ] = None,
    data_dir: options.DataDir = None,
    template: Annotated[
        str | None, typer.Option(help="Make the session's sandbox from this template.", show_default=False)
    ] = None,
) -> None:
    """Serve MCP on standard input and output; the host starts this command itself.

    Example: claude mcp add podflare-nb -- podflare-nb mcp
    """
    # Loaded here: no other command needs them.
    from podflare_nb import client  # noqa: PLC0415
    from podflare_nb.client.endpoint import locate  # noqa: PLC0415

    from ..mcp import load  # noqa: PLC0415

    environ = {**os.environ, "PODFLARE_NB_DATA_DIR": str(data_dir)} if data_dir else os.environ
    try:
        endpoint = locate(url, key, environ=environ)
        if endpoint.api_key is None:
            raise UnauthenticatedError(
                f"There is no API key for {endpoint.url} ({endpoint.key_source}). Start a service with "
                "'podflare-nb serve', or name one with --url and --api-key."
            )
        # Before a second is spent on loading the protocol: a host shows this sentence and nothing else.
        client.capabilities(endpoint.url, endpoint.api_key)
        asyncio.run(load("stdio").serve(endpoint.url, endpoint.api_key, template=template))
    except client.PodflareError as error:
        raise ServiceError(error.message) from error
    except ImportError as error:
        raise MissingError(str(error)) from error


class MissingError(PodflareError):
    """A package that this command needs is not installed."""

    code = "missing"
