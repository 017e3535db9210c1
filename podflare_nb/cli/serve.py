"""``podflare-nb serve``: the service as one process group, from the command line to a clean end.

Checks what can be checked before anything starts, so that a refusal is one sentence and quick; then runs Jupyter's
server with our extension (``server``).
"""

from __future__ import annotations

import errno
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ..config import ServiceConfig, default_data_dir
from ..errors import ConflictError, InvalidArgumentError
from ..provisioning.client import Isolation
from ..provisioning.network.config import NetworkConfig
from ..provisioning.network.mirror import settings
from . import options, running_service

DEFAULT_PORT = 8888


def serve(  # noqa: PLR0913, PLR0917 - one parameter per option
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes any free one.")] = DEFAULT_PORT,
    data_dir: options.DataDir = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="PODFLARE_NB_API_KEY",
            help="The API key. Default: the one of the last start, else a new one; kept in <data-dir>/api-key.",
            show_default=False,
        ),
    ] = None,
    isolation: Annotated[
        Isolation, typer.Option(help="none: run code without any jail, for code that you trust.")
    ] = "namespaces",
    template_dir: Annotated[
        list[Path] | None, typer.Option(help="A directory of kernelspecs to take templates from, too; repeatable.")
    ] = None,
    egress: Annotated[
        str,
        typer.Option(
            metavar="true|false|RULES",
            help="What sandboxes reach that ask for nothing else: true is the public internet; or rules, with commas: "
            "files.example.org,*.example.com:443. Default: as --egress-most.",
            show_default=False,
        ),
    ] = "",
    egress_most: Annotated[
        str,
        typer.Option(metavar="true|false|RULES", help="The most that tenants may ask for, written as --egress is."),
    ] = "true",
    egress_private: Annotated[
        list[str] | None, typer.Option(help="A private range that tenants may name in egress rules; repeatable.")
    ] = None,
    egress_public: Annotated[
        list[str] | None, typer.Option(help="A reserved range that counts as public here; repeatable.")
    ] = None,
    packages: Annotated[
        Path | None, typer.Option(help="A TOML file of package indexes. Default: what this machine uses.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what Jupyter's server does.")] = False,  # noqa: FBT002 - a flag
) -> int:
    """Run the service until Ctrl-C or SIGTERM.

    Example: podflare-nb serve --port 8888
    """
    directory = (data_dir or default_data_dir()).expanduser().absolute()
    templates = tuple(_checked_template_dir(path) for path in template_dir or ())
    network = NetworkConfig.written(
        egress=egress,
        most=egress_most,
        public=egress_public or (),
        private=egress_private or (),
        packages=str(_checked_packages(packages)) if packages else "",
    )
    _check_address(host, port)
    key = _prepare_key(directory, api_key)
    _load_no_grammar_of_iris()
    # Here, not above: Jupyter's server takes most of a second to import, and a refusal should not wait for it.
    from .server import run_server  # noqa: PLC0415

    config = ServiceConfig(data_dir=directory, isolation=isolation, template_dirs=templates, network=network)
    return run_server(config, host=host, port=port, api_key=key, verbose=verbose)


def _load_no_grammar_of_iris() -> None:
    """Let jsonschema, which Jupyter's server loads, do without its checks of IRIs (RFC 3987), which nobody here uses:
    it compiles the grammar for them when it is imported, which takes as long as all other imports together."""
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type] # None: it cannot be imported


def _prepare_key(data_dir: Path, given: str | None) -> str:
    from ..tenants.key_ring import open_key_ring  # noqa: PLC0415 - as in ``keys``

    with open_key_ring(data_dir, clock=lambda: datetime.now(UTC)) as ring:
        key = running_service.choose_key(data_dir, given)
        ring.set_service_key(key)
    return key


def _checked_template_dir(path: Path) -> Path:
    if not path.is_dir():
        raise InvalidArgumentError(
            f"--template-dir {path} is not a directory; it must hold <name>/kernel.json for each template."
        )
    return path.absolute()


def _checked_packages(path: Path) -> Path:
    if not path.is_file():
        raise InvalidArgumentError(f"--packages {path} is not a file.")
    settings.read(path, settings.Settings())
    return path.absolute()


def _check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened at, while refusing is cheap."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            trial.listen(1)
    except socket.gaierror:
        raise InvalidArgumentError(f"--host {host} is not an address of this machine.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                f"Port {port} on {host} is taken. Choose another with --port; --port 0 takes any free one."
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise InvalidArgumentError(f"--host {host} is not an address of this machine.") from None
        raise InvalidArgumentError(f"Port {port} on {host} cannot be used: {error.strerror}.") from error
