"""The supervisor's end of a template, for tests: start, configure, spawn; no jail."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from jupyter_client import BlockingKernelClient

from podflare_nb.provisioning import datagrams
from podflare_nb.provisioning.kernel import loader
from podflare_nb.provisioning.kernel.transport import CHANNELS

WAIT_SECONDS = 60
PORTS = {"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5}


class Channel:
    """One end of a SEQPACKET pair; every wait is bounded."""

    def __init__(self, end):
        self.socket = end
        end.settimeout(WAIT_SECONDS)

    def send(self, message, fds=()):
        datagrams.send(self.socket, message, fds)

    def receive(self):
        try:
            return datagrams.receive(self.socket).body
        except datagrams.PeerClosedError:
            return None


class Kernel:
    """A spawned kernel: its pid, its ctl, how to connect."""

    def __init__(self, pid, ctl, connection, home):
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.ctl = ctl
        self.connection = connection
        self.home = home
        self._clients = []

    def client(self, client_class=BlockingKernelClient, *, ready=True):
        client = client_class()
        client.load_connection_info(self.connection)
        client.start_channels()
        self._clients.append(client)
        if ready:
            client.wait_for_ready(timeout=WAIT_SECONDS)
        return client

    def ended(self, seconds=WAIT_SECONDS):
        """Wait for the end of the process."""
        return bool(select.select([self.pidfd], [], [], seconds)[0])

    def close(self):
        for client in self._clients:
            client.stop_channels()
            client.context.destroy(linger=0)
        self.ctl.socket.close()
        if not self.ended(5):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            assert self.ended()
        os.close(self.pidfd)
        shutil.rmtree(self.home.parent)


class Template:
    """A template process."""

    def __init__(self, *, preload=(), env=None, python=sys.executable):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                loader.command(python, theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
            )
        self.control = Channel(ours)
        self.env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **(env or {})}
        self.control.send({"op": "configure", "preload": list(preload), "env": self.env})
        self.configured = self.control.receive()

    def spawn(self, *, env=None, cwd=None, key=None):
        directory = tempfile.mkdtemp(prefix="podflare-kernel-")
        listeners = [_listener(f"{directory}/k-{PORTS[name]}") for name in CHANNELS]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        key = key or uuid.uuid4().hex
        kernel_id = str(uuid.uuid4())
        home = Path(directory, "home")
        home.mkdir()
        order = {"op": "spawn", "kernel_id": kernel_id, "jail": None}
        self.control.send(order, [*(each.fileno() for each in listeners), theirs.fileno()])
        for each in (*listeners, theirs):
            each.close()
        ctl = Channel(ours)
        serve = {"op": "serve", "key": key, "env": {**self.env, "HOME": str(home), **(env or {})}}
        ctl.send({**serve, "cwd": cwd or str(home)})
        assert self.control.receive()["kernel_id"] == kernel_id
        up = ctl.receive()
        connection = {
            "transport": "ipc", "ip": f"{directory}/k", "key": key, "signature_scheme": "hmac-sha256",
            **{f"{name}_port": port for name, port in PORTS.items()},
        }  # fmt: skip
        assert up["event"] == "up", up
        return Kernel(up["pid"], ctl, connection, home)

    def close(self):
        self.control.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(10)
        self.process.kill()
        return self.process.wait(10)


def _listener(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    return listener
