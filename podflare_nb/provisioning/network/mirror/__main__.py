"""The mirror's life: ``python -m podflare_nb.provisioning.network.mirror FD``.

``FD`` is one end of a pair of sockets (``provisioning.datagrams``) whose other end the supervisor has. It is started as
root, so that it can read the operator's configuration and credentials; once it has, it becomes a user without
privileges, for good, before the first sandbox's listener arrives. It ends when the pair closes.

Datagrams that come: ``configure`` first (``cache``: directory; ``config``: the operator's file or null; ``uid``: the id
to become; ``public_networks``, ``private_networks`` and ``own_addresses`` as the gateway gets them), then ``open``
(``network``, ``egress``; the listener as its one descriptor), ``egress`` and ``close``. That go: ``ready`` or
``failed`` (``error``), then what ``records`` tells.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ....errors import InvalidArgumentError
from ....protocol.egress import Egress, address, networks
from ... import datagrams
from ...jail import syscalls as sc
from ...waiting import receive
from .. import privileges
from ..addresses import Reach
from ..records import Records
from . import host_settings, settings
from .downloads import Downloads
from .routes import Routes
from .serving import Listener, Network
from .store import Store
from .upstream import Upstream

NOBODY = GROUP = 65534
log = logging.getLogger(__name__)


class Mirror:
    """What is served, and on which listeners."""

    def __init__(self, routes: Routes, records: Records) -> None:
        self._routes = routes
        self._records = records
        self._listeners: dict[str, Listener] = {}

    async def obey(self, told: datagrams.Datagram) -> None:
        """Do what the supervisor says."""
        body = told.body
        name = str(body.get("network"))
        match body.get("op"):
            case "open" if len(told.fds) == 1:
                await self._close(name)  # told again after a restart of the supervisor's
                listener = Listener(Network(name, Egress.from_json(body["egress"])), self._routes, self._records)
                listener.listen_on(socket.socket(fileno=told.fds.pop()))
                self._listeners[name] = listener
            case "egress" if name in self._listeners:
                self._listeners[name].network.egress = Egress.from_json(body["egress"])
            case "close":
                await self._close(name)
            case op:
                log.warning("cannot do %s for the network %s", op, name)
        told.close_fds()

    async def _close(self, name: str) -> None:
        listener = self._listeners.pop(name, None)
        if listener is not None:
            self._records.forget(name)
            await listener.end()


def prepare(body: dict[str, Any]) -> tuple[settings.Settings, Reach]:
    """Read what is configured and go into the cache's directory. As root. Raises InvalidArgumentError, OSError."""
    path = body.get("config")
    found = settings.read(Path(path) if path else None, host_settings.find())
    reach = Reach(
        networks(body.get("public_networks", ())),
        networks(body.get("private_networks", ())),
        frozenset(address(text) for text in body.get("own_addresses", ())),
    )
    cache = Path(body["cache"])
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chdir(cache)
    return found, reach


def open_to_mirrors(directory: Path) -> None:
    """Mirrors of several services, each a user of its own, share the cache as one group."""
    if os.geteuid() == 0:
        for path in (directory, *directory.rglob("*")):
            if path.stat(follow_symlinks=False).st_gid != GROUP:
                os.chown(path, -1, GROUP, follow_symlinks=False)
    directory.chmod(0o2770)


async def serve(supervisor: socket.socket, body: dict[str, Any]) -> None:
    """Serve until the pair closes."""
    supervisor.setblocking(False)  # noqa: FBT003 - positional only
    try:
        found, reach = prepare(body)
        upstream = Upstream(found, reach)
        open_to_mirrors(Path())
        privileges.forgo_new()
        privileges.become(int(body.get("uid", NOBODY)), GROUP)
        store = Store(found.cache_bytes)
    except (InvalidArgumentError, OSError, KeyError, ValueError) as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence is all there is to know
        datagrams.send(supervisor, {"event": "failed", "error": str(error)})
        return
    records = Records(lambda body: _tell(supervisor, body))
    mirror = Mirror(Routes(found, upstream, Downloads(upstream, store)), records)
    datagrams.send(supervisor, {"event": "ready"})
    telling = asyncio.create_task(records.run())
    try:
        while True:
            await mirror.obey(await receive(supervisor))
    finally:
        telling.cancel()


def _tell(supervisor: socket.socket, body: dict[str, Any]) -> bool:
    """Tell the supervisor; False if the socket is full. When it is gone, ``serve`` sees it."""
    try:
        datagrams.send(supervisor, body)
    except BlockingIOError:
        return False
    except datagrams.PeerClosedError:
        return True
    return True


def main() -> None:
    """Serve on the descriptor named in ``argv[1]``."""
    logging.basicConfig(format="podflare-nb mirror: %(message)s", level=logging.WARNING)
    sc.set_name("podflare-mirror")
    os.umask(0o007)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl+C is the supervisor's to hear
    privileges.raise_descriptor_limit()
    supervisor = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(supervisor.fileno(), False)  # noqa: FBT003 - positional only
    with suppress(datagrams.PeerClosedError):
        body = datagrams.receive(supervisor).body
        asyncio.run(serve(supervisor, body))


if __name__ == "__main__":
    main()
