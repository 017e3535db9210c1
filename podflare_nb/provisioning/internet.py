"""Whether this machine can give sandboxes the public internet: a router is made and taken away again.

In a network namespace of the probe's own: nothing of the host's network is touched, so what the host's own firewall
does with forwarded packets is not found out. ``podflare-nb doctor`` shows it; services find it out by making theirs.
"""

from __future__ import annotations

from .jail import layers
from .jail import syscalls as sc
from .network.addresses import Reach
from .network.config import ConnectionLimits
from .network.router import Router

REMEDY = (
    "without it sandboxes reach only what egress allows by name: use a Linux with veth and nf_tables (modprobe veth "
    "nf_tables nft_masq), and in a container --privileged, so that /proc/sys/net can be written"
)


def probe() -> layers.Layer:
    """Try it. Blocks for some tens of milliseconds; needs no privilege to be asked."""
    return layers.optional("router", _route, "sandboxes can have the public internet", REMEDY)


def _route(_: str) -> None:
    sc.unshare(sc.CLONE_NEWNET)
    router = Router("probe", Reach(), ConnectionLimits(), ())
    router.open()
    router.close()
