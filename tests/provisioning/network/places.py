"""Network namespaces of the test's own, each with a thread that lives in it. The machine's network is left alone."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any, Self, TypeVar

from podflare_nb.provisioning.jail import syscalls as sc
from podflare_nb.provisioning.network import links, namespaces
from podflare_nb.provisioning.network.netlink import NETLINK_ROUTE, Netlink

from .internet_servers import Closable, Echo

SECONDS = 120
"""How long anything that a place does may take: far more than it does."""
T = TypeVar("T")


class Place:
    """A network namespace and a thread in it, with an event loop. What the thread starts is there, too.

    ``files``: what the thread, and what it starts, sees in the place of these paths (a mount namespace of its own).
    """

    def __init__(self, name: str, files: Mapping[str, Path] | None = None, namespace: int | None = None) -> None:
        """``namespace``: one that is there already; it is closed with the place."""
        self.name = name
        self.namespace = namespaces.make() if namespace is None else namespace
        self._files = files or {}
        self._serving: list[Closable] = []
        self.loop = asyncio.new_event_loop()
        self._entered: list[BaseException | None] = []
        begun = threading.Event()
        self._thread = threading.Thread(target=self._live, args=(begun,), name=name, daemon=True)
        self._thread.start()
        begun.wait()
        if (failure := self._entered[0]) is not None:
            raise failure

    def _live(self, begun: threading.Event) -> None:
        try:
            sc.setns(self.namespace, sc.CLONE_NEWNET)
            if self._files:
                sc.unshare(sc.CLONE_NEWNS)
                sc.mount(None, "/", flags=sc.MS_REC | sc.MS_PRIVATE)
                for path, seen in self._files.items():
                    sc.mount(str(seen), str(Path(path).resolve()), flags=sc.MS_BIND)
            self._entered.append(None)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the thread raises it
            self._entered.append(error)
            return
        finally:
            begun.set()
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, work: Coroutine[Any, Any, T], seconds: float = SECONDS) -> T:
        """What comes of a coroutine, run by the thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """What comes of a function, run by the thread; whatever else the thread does waits for it."""

        async def work() -> T:
            return function(*arguments, **named)

        return self.run(work())

    def serve(self, starting: Coroutine[Any, Any, list[Closable]]) -> None:
        """Start servers, which end with the place."""
        self._serving += self.run(starting)

    def entered(self) -> AbstractContextManager[None]:
        """The caller's own thread is here for a while; its threads and what it awaits are not."""
        return namespaces.entered(self.namespace)

    def ask(self, *messages: bytes) -> None:
        """Change links, addresses and routes (``links``)."""
        with Netlink(NETLINK_ROUTE, self.namespace) as netlink:
            netlink.ask(messages)

    def add_addresses(self, index: int, *texts: str) -> None:
        """Addresses with their prefixes for a link."""
        self.ask(*links.addresses(index, map(ip_interface, texts)))

    def add_routes(self, index: int, *texts: str) -> None:
        """Ranges that lie behind a link."""
        self.ask(*(links.route(index, ip_network(text)) for text in texts))

    def links(self) -> list[str]:
        """The names of its links."""
        with self.entered():
            return sorted(name for _, name in socket.if_nameindex())

    def setting(self, name: str, value: str | None = None) -> str:
        """One of ``/proc/sys/net``; with a value it is changed. Gives what it was."""
        with self.entered():
            path = Path("/proc/sys/net") / name  # of whoever opens it
            before = path.read_text().strip()
            if value is not None:
                path.write_text(value)
            return before

    def settings(self, pattern: str, value: str) -> dict[str, str]:
        """Change all that match; gives what they were."""
        with self.entered():
            base = Path("/proc/sys/net")
            names = [str(path.relative_to(base)) for path in base.glob(pattern)]
        return {name: self.setting(name, value) for name in names}

    def close(self) -> None:
        """End the thread and let go of the namespace."""

        async def stop() -> None:
            for each in self._serving:
                each.close()
            Echo.hang_up()
            ours = asyncio.current_task()
            others = [task for task in asyncio.all_tasks() if task is not ours]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0)  # closed transports let go in the next turn
            await self.loop.shutdown_asyncgens()

        self.run(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(SECONDS)
        self.loop.close()
        os.close(self.namespace)


def join(near: Place, far: Place, index: int, name: str, mtu: int = 1500) -> None:
    """A wire between two places, up at both ends, with this number and name in both."""
    ends = links.End(name, index, near.namespace), links.End(name, index, far.namespace)
    near.ask(links.wire(*ends, bytes.fromhex("020000000077"), mtu), links.up(index))
    far.ask(links.up(index))
    for place in (near, far):
        with Netlink(NETLINK_ROUTE, place.namespace) as netlink:
            links.settle(netlink, index)
