"""The supervisor's end of a template, for tests: start, configure, spawn without a jail, run cells."""

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
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_client import BlockingKernelClient

from podflare_nb.provisioning import datagrams, library_caches
from podflare_nb.provisioning.client import default_library_caches
from podflare_nb.provisioning.kernel import loader
from podflare_nb.provisioning.kernel.transport import CHANNELS

WAIT_SECONDS = 60
PORTS = {"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5}


class NotStartedError(Exception):
    """A kernel said why it could not start."""


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


@dataclass
class Ran:
    """What came of one cell."""

    reply: dict
    messages: list = field(default_factory=list)

    def text(self, stream="stdout"):
        return "".join(m["content"]["text"] for m in self.of("stream") if m["content"]["name"] == stream)

    def of(self, kind):
        return [m for m in self.messages if m["msg_type"] == kind]

    @property
    def result(self):
        return self.of("execute_result")[0]["content"]["data"]["text/plain"]


class Client(BlockingKernelClient):
    """A client that collects a cell's messages."""

    def run(self, code, **options):
        ran = Ran({})
        reply = self.execute_interactive(
            code, timeout=WAIT_SECONDS, output_hook=ran.messages.append, allow_stdin=False, **options
        )
        ran.reply = reply["content"]
        return ran

    def value(self, expression):
        return self.run(expression).result

    def until(self, matches):
        """The next iopub message that matches."""
        while True:
            message = self.get_iopub_msg(timeout=WAIT_SECONDS)
            if matches(message):
                return message

    def until_text(self, text):
        return self.until(lambda m: m["msg_type"] == "stream" and text in m["content"]["text"])

    def until_idle(self, request_id):
        return self.until(
            lambda m: m["content"].get("execution_state") == "idle" and m["parent_header"].get("msg_id") == request_id
        )

    def reply_to(self, request_id, channel="shell"):
        receive = self.get_shell_msg if channel == "shell" else self.get_control_msg
        while (reply := receive(timeout=WAIT_SECONDS))["parent_header"].get("msg_id") != request_id:
            pass
        return reply["content"]

    def request(self, kind, content, channel="shell"):
        message = self.session.msg(kind, content)
        getattr(self, f"{channel}_channel").send(message)
        return message["header"]["msg_id"]


class Kernel:
    """A spawned kernel: its pid, its ctl, how to connect."""

    def __init__(self, pid, ctl, connection, home):
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.ctl = ctl
        self.connection = connection
        self.home = home
        self._clients = []

    def client(self):
        client = Client()
        client.load_connection_info(self.connection)
        client.start_channels()
        self._clients.append(client)
        client.wait_for_ready(timeout=WAIT_SECONDS)
        return client

    def fork(self, n=1, *, wait_seconds=30, strict=False, root=None):
        """Fork with no root of its own for anybody, or a directory for the kernel itself; sleeping children."""
        pairs = _channels(n)
        order = {"op": "fork", "id": 7, "n": n, "wait_seconds": wait_seconds, "strict": strict}
        self.ctl.send(order, [theirs.fileno() for _, theirs in pairs])
        for _, theirs in pairs:
            theirs.close()
        told = self.ctl.receive()
        if told["event"] == "refused":
            for ours, _ in pairs:
                ours.close()
            raise RefusedError(told)
        forked = Forked(told, self.ctl.receive())
        forked.children = [Sleeping(Channel(ours), self) for ours, _ in pairs]
        with contextlib.ExitStack() as opened:
            fds = []
            if root is not None:
                fds.append(os.open(root, os.O_PATH))
                opened.callback(os.close, fds[0])
            self.ctl.send({"op": "continue", "id": 7}, fds)
        forked.continued = self.ctl.receive()
        for child in forked.children:
            child.settle()
        return forked

    def order(self, op, **more):
        """Send an order and receive the answer, with what came along."""
        self.ctl.send({"op": op, "id": 9, **more})
        return datagrams.receive(self.ctl.socket)

    def interrupt(self):
        signal.pidfd_send_signal(self.pidfd, signal.SIGINT)

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


class RefusedError(Exception):
    """A kernel refused an order."""


@dataclass
class Forked:
    """What a live kernel told of a fork."""

    paused: dict
    forked: dict
    continued: dict = field(default_factory=dict)
    children: list = field(default_factory=list)

    @property
    def warnings(self):
        return [(each["kind"], each["text"]) for each in self.paused["warnings"]]


class Sleeping:
    """A sleeping child: forks, becomes a kernel, ends with its ctl."""

    def __init__(self, ctl, parent):
        self.ctl = ctl
        self._parent = parent

    def settle(self):
        told = datagrams.receive(self.ctl.socket)
        assert told.body == {"event": "asleep"}, told
        self.pid = told.pid
        self.pidfd = os.pidfd_open(self.pid)

    def fork(self, n=1):
        pairs = _channels(n)
        self.ctl.send({"op": "fork", "id": 8, "n": n}, [theirs.fileno() for _, theirs in pairs])
        for _, theirs in pairs:
            theirs.close()
        assert self.ctl.receive() == {"event": "forked", "id": 8, "failed": []}
        children = [Sleeping(Channel(ours), self._parent) for ours, _ in pairs]
        for child in children:
            child.settle()
        return children

    def serve(self, root=None):
        """Wake it itself."""
        directory, listeners = _endpoints()
        key = uuid.uuid4().hex
        self.ctl.send({"op": "rise", "key": key}, [each.fileno() for each in listeners])
        for each in listeners:
            each.close()
        up = self.ctl.receive()
        if up == {"event": "risen"}:
            up = self._wake(root)
        home = Path(directory, "home")
        home.mkdir()
        if up["event"] != "up":
            shutil.rmtree(directory)
            raise NotStartedError(up)
        os.close(self.pidfd)
        kernel = Kernel(self.pid, self.ctl, _connection(directory, key), home)
        kernel.up = up
        return kernel

    def _wake(self, root):
        with contextlib.ExitStack() as opened:
            fds = []
            if root is not None:
                fds.append(os.open(root, os.O_PATH))
                opened.callback(os.close, fds[-1])
            self.ctl.send({"op": "serve"}, fds)
        return self.ctl.receive()

    def close(self):
        self.ctl.socket.close()
        assert select.select([self.pidfd], [], [], 5)[0], "a sleeping child outlived its ctl"
        os.close(self.pidfd)


class Template:
    """A template process."""

    def __init__(self, *, preload=(), env=None, python=sys.executable, cache=None):
        """``cache``: the directory of libraries' caches; by default the one that services use."""
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
        cached = library_caches.open_directory(cache or default_library_caches())
        self.control.send({"op": "configure", "preload": list(preload), "env": self.env}, [cached])
        os.close(cached)
        self.configured = self.control.receive()

    def spawn(self, *, env=None, cwd=None, key=None):
        directory, listeners = _endpoints()
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
        while (told := self.control.receive())["event"] != "spawned":
            pass  # the end of an earlier one
        assert told["kernel_id"] == kernel_id
        up = ctl.receive()
        if up["event"] != "up":
            ours.close()
            shutil.rmtree(directory)
            raise NotStartedError(up)
        return Kernel(up["pid"], ctl, _connection(directory, key), home)

    def close(self):
        self.control.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(60)
        self.process.kill()
        return self.process.wait(60)


def _channels(n):
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(n)]
    for ours, _ in pairs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)  # before anything is sent: it tells who it was
    return pairs


def _endpoints():
    directory = tempfile.mkdtemp(prefix="podflare-kernel-")
    return directory, [_listener(f"{directory}/k-{PORTS[name]}") for name in CHANNELS]


def _connection(directory, key):
    return {
        "transport": "ipc", "ip": f"{directory}/k", "key": key, "signature_scheme": "hmac-sha256",
        **{f"{name}_port": port for name, port in PORTS.items()},
    }  # fmt: skip


def _listener(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    return listener
