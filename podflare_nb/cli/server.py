"""Jupyter's server as ``podflare-nb serve`` runs it: quiet, for tenants, with nothing that reaches past the jail.

Of Jupyter's own services only kernels, kernelspecs and sessions are left, and those only for our templates and per
tenant (``tenants``): contents and terminals would be the service's own files and processes. No configuration file of a
user is read, so that what stands here is what runs.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from jupyter_server.serverapp import ServerApp
from tornado.netutil import bind_sockets
from tornado.web import RequestHandler
from traitlets.config import Config

from ..app import PodflareApp
from ..config import ServiceConfig, kernelspec_dirs
from ..errors import PodflareError
from ..handlers.base import UnknownRouteHandler
from ..protocol.egress import Egress
from ..tenants.authorizer import TenantAuthorizer
from ..tenants.channels import SharedChannels
from ..tenants.identity import TenantIdentityProvider
from ..tenants.kernels import TemplateSpecManager, TenantKernelManager
from ..tenants.sessions import TenantSessionManager
from . import running_service
from .allocator import give_back_large_buffers
from .running_service import RunningService

NO_ISOLATION = (
    "podflare-nb: --isolation none: there is no isolation. Code in a sandbox can read and change everything that you "
    "can on this machine: files, keys, processes, the network. Run only code that you trust.\n"
)
KERNELS_SECONDS = 2.0
WILDCARDS = {"", "0.0.0.0", "::"}  # noqa: S104 - recognised here, bound only when asked for


log = logging.getLogger(__name__)


class ServiceServer(ServerApp):
    """Jupyter's server with our settings. ``exit_code`` is good after its end."""

    default_services = ("api", "auth", "kernels", "kernelspecs", "security", "sessions")  # type: ignore[assignment] # fewer
    exit_code = 0
    on_started: Callable[[], None]
    _listeners: Sequence[socket.socket] = ()

    def load_config_file(self, *_: Any, **__: Any) -> None:
        """Read no file: a setting made for a user's JupyterLab must not open this service."""

    def init_signal(self) -> None:
        """End at once and without a question on Ctrl-C, SIGTERM and a closed terminal."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._signal_stop)

    def _signal_stop(self, sig: Any, frame: Any) -> None:  # noqa: ARG002 - a signal handler's signature
        # The second signal ends the process where it stands; the supervisor then cleans up by itself.
        signal.signal(sig, signal.SIG_DFL)
        self.stop(from_signal=True)

    def _find_http_port(self) -> None:
        """Keep the free port that ``--port 0`` found: Jupyter lets it go and takes it again, others may meanwhile."""
        if self.port:
            super()._find_http_port()
            return
        self._listeners = bind_sockets(0, self.ip)
        self.port = self._listeners[0].getsockname()[1]

    def _bind_http_server_tcp(self) -> bool:
        if not self._listeners:
            return super()._bind_http_server_tcp()
        self.http_server.add_sockets(self._listeners)
        return True

    def start_app(self) -> None:
        """Leave out what Jupyter says and opens at a start; ``on_started`` says what there is to say."""

    async def _post_start(self) -> None:
        """Start the extension, then say where the service is, or why it cannot be had."""
        await super()._post_start()  # type: ignore[no-untyped-call] # Jupyter's
        extension: PodflareApp = self.extension_manager.extension_points[PodflareApp.name].app
        try:
            extension.slot.check()
        except PodflareError as error:
            if not self._stopping:
                self.fail(error.message)
        else:
            self.on_started()

    async def cleanup_extensions(self) -> None:
        """End Jupyter's own kernels first, while there is a supervisor to do it."""
        await self.cleanup_kernels()
        await super().cleanup_extensions()

    async def cleanup_kernels(self) -> None:
        """End Jupyter's own kernels, without waiting for one that is just starting: the supervisor ends all."""
        with suppress(TimeoutError):
            async with asyncio.timeout(KERNELS_SECONDS):
                await super().cleanup_kernels()

    async def _stop(self) -> None:
        """End, whatever goes wrong on the way."""
        try:
            await super()._stop()
        except Exception:
            log.exception("Something did not end as it should.")
            self.exit_code = 1
            self.io_loop.stop()

    def fail(self, message: str) -> None:
        """Say why in one sentence, and end with a code that is not 0."""
        sys.stderr.write(f"podflare-nb: {message}\n")
        self.exit_code = 1
        self.stop()


def run_server(config: ServiceConfig, *, host: str, port: int, api_key: str, verbose: bool) -> int:
    """Run the service until a signal ends it; gives the exit code."""
    give_back_large_buffers()
    server = ServiceServer.instance(config=settings(config, host=host, port=port, verbose=verbose))
    server.initialize(argv=[], find_extensions=False)
    # Counts of the whole server, which Jupyter shows to whoever is logged in: none of a tenant's business.
    server.web_app.add_handlers(".*$", [(r"/metrics", UnknownRouteHandler)])  # type: ignore[no-untyped-call] # Jupyter's

    ending = ExitStack()

    def on_started() -> None:
        # Only one that ran takes its note away: another may be running on the same data directory.
        ending.callback(running_service.remove_note, config.data_dir)
        url = f"{origin(host, server.port)}/podflare"
        running_service.write_note(config.data_dir, RunningService(url, os.getpid()))
        if config.isolation == "none":
            sys.stderr.write(NO_ISOLATION)
        sys.stdout.write(welcome(url, api_key))
        sys.stdout.flush()

    server.on_started = on_started
    with ending:
        server.start()
    return server.exit_code


def settings(config: ServiceConfig, *, host: str, port: int, verbose: bool) -> Config:
    """Compose Jupyter's settings for the service."""
    files = config.data_dir / "files"
    files.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Config({
        "ServerApp": {
            "ip": host,
            "port": port,
            "port_retries": 0,
            "allow_root": True,
            "allow_remote_access": not is_loopback(host),
            "allow_unauthenticated_access": False,
            "authorizer_class": TenantAuthorizer,
            "cookie_secret_file": str(config.data_dir / "cookie_secret"),
            "default_url": "/podflare",
            "identity_provider_class": TenantIdentityProvider,
            "jpserver_extensions": {"podflare_nb": True},
            "kernel_manager_class": TenantKernelManager,
            "kernel_spec_manager_class": TemplateSpecManager,
            "kernel_websocket_connection_class": SharedChannels,
            "log_level": logging.INFO if verbose else logging.ERROR,
            "min_open_files_limit": None,
            "record_http_request_metrics": False,
            "reraise_server_extension_failures": True,
            "root_dir": str(files),
            "session_manager_class": TenantSessionManager,
            "terminals_enabled": False,
            "tornado_settings": {"log_function": log_fault},
        },
        "TemplateSpecManager": {
            "ensure_native_kernel": False,
            "template_dirs": [str(path) for path in kernelspec_dirs(config.template_dirs)],
        },
        "PodflareApp": {
            "data_dir": str(config.data_dir),
            "isolation": config.isolation,
            "template_dirs": [str(path) for path in config.template_dirs],
            "egress": written_egress(config.network.egress),
            "egress_most": written_egress(config.network.most),
            "egress_private": [str(each) for each in config.network.private],
            "egress_public": [str(each) for each in config.network.public],
            "packages": config.network.packages or "",
            "eager": True,
        },
    })  # fmt: skip


def written_egress(egress: Egress) -> str:
    """A policy as the setting has it."""
    return {"internet": "true", "off": "false"}.get(egress.mode, ",".join(map(str, egress.rules)))


def welcome(url: str, api_key: str) -> str:
    """Say where the service is and how to call it."""
    return (
        f"\n  Chat page  {url}?token={api_key}\n"
        f'  Python     from podflare_nb import Sandbox; sbx = Sandbox(host="{url}", api_key="{api_key}"); '
        'print(sbx.run_code("6*7"))\n'
        f'  curl       curl -H "Authorization: Bearer {api_key}" {url}/v1/sandboxes -d "{{}}"\n\n'
        "  Ctrl-C ends it.\n\n"
    )


def origin(host: str, port: int) -> str:
    """Give the URL's head under which this machine reaches the service."""
    name = "127.0.0.1" if host in WILDCARDS else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def log_fault(handler: RequestHandler) -> None:
    """Log requests that failed by a fault of ours, a line each, without the query: it may hold a key."""
    if handler.get_status() == 500:
        request = handler.request
        logging.getLogger("podflare_nb").warning(
            "%d %s %s (%.0f ms)", handler.get_status(), request.method, request.path, 1000 * request.request_time()
        )
