"""Real servers for a place that stands for the internet: each tells by which address it was reached."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Protocol

import tornado.httpserver
import tornado.netutil
import tornado.web
import tornado.websocket


class Closable(Protocol):
    """What a place closes at its end."""

    def close(self) -> None: ...


ECHO, HTTP, HTTPS = 7000, 80, 443
CHUNK = bytes(1 << 16)


class Reached(tornado.web.RequestHandler):
    """Says which address was asked, and for which host."""

    def get(self) -> None:
        address = self.request.connection.stream.socket.getsockname()[0]
        self.finish(f"reached {address} as {self.request.host}")


class Redirect(tornado.web.RequestHandler):
    """``/to?url=``."""

    def get(self) -> None:
        self.redirect(self.get_query_argument("url"))


class Large(tornado.web.RequestHandler):
    """``/large?bytes=``; without an end when there is no number."""

    async def get(self) -> None:
        wanted = int(self.get_query_argument("bytes", "0"))
        if wanted:
            self.set_header("Content-Length", str(wanted))
        sent = 0
        with suppress(tornado.websocket.WebSocketClosedError, tornado.iostream.StreamClosedError):
            while not wanted or sent < wanted:
                part = CHUNK[: wanted - sent] if wanted else CHUNK
                self.write(part)
                await self.flush()
                sent += len(part)


class WebSocketEcho(tornado.websocket.WebSocketHandler):
    """``/socket``."""

    def check_origin(self, origin: str) -> bool:
        return bool(origin) or True

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))


class Git(tornado.web.RequestHandler):
    """``/git/...``: repositories below a directory by git's own server (git-http-backend(1), a CGI program)."""

    def initialize(self, repositories: Path) -> None:
        self._repositories = repositories

    async def get(self, path: str) -> None:
        request = self.request
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self._repositories), "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": f"/{path}", "QUERY_STRING": request.query, "REQUEST_METHOD": request.method or "",
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
                "HTTP_GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            },
        )  # fmt: skip
        answer, _ = await process.communicate(request.body)
        head, _, body = answer.partition(b"\r\n\r\n")
        for line in head.decode().splitlines():
            name, _, value = line.partition(": ")
            if name == "Status":
                self.set_status(int(value.split()[0]))
            else:
                self.set_header(name, value)
        self.finish(body)

    post = get


def application(repositories: Path | None) -> tornado.web.Application:
    routes: list[Any] = [(r"/to", Redirect), (r"/large", Large), (r"/socket", WebSocketEcho)]
    if repositories is not None:
        routes.append((r"/git/(.*)", Git, {"repositories": repositories}))
    return tornado.web.Application([*routes, (r"/.*", Reached)])


class Echo(asyncio.Protocol):
    """TCP: the first bytes are answered with the address that was reached; what follows comes back."""

    connected: ClassVar[dict[asyncio.BaseTransport, asyncio.AbstractEventLoop]] = {}

    @classmethod
    def hang_up(cls) -> None:
        """End the connections of the caller's loop: clients whose network was taken away never end them."""
        for transport, loop in list(cls.connected.items()):
            if loop is asyncio.get_running_loop():
                transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._told = False
        self.connected[transport] = asyncio.get_running_loop()

    def connection_lost(self, _: Exception | None) -> None:
        self.connected.pop(self._transport, None)

    def data_received(self, data: bytes) -> None:
        address = self._transport.get_extra_info("sockname")[0]
        self._transport.write(data if self._told else f"reached {address}\n".encode())
        self._told = True


class UdpEcho(asyncio.DatagramProtocol):
    """UDP on one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, _: bytes, sender: tuple[str, int]) -> None:
        self._transport.sendto(f"reached {self._address} from {sender[0]}".encode(), sender)


def _bound(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in address:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address, port))
    sock.setblocking(False)
    return sock


def _listening(port: int) -> list[socket.socket]:
    sockets = [_bound(address, port, socket.SOCK_STREAM) for address in ("0.0.0.0", "::")]
    for sock in sockets:
        sock.listen(1024)
    return sockets


async def start_echo(addresses: list[str], port: int = ECHO, *, streams: bool = True) -> list[Closable]:
    """TCP on all addresses of the place, unless there is that already; UDP on each of these."""
    loop = asyncio.get_running_loop()
    sockets = _listening(port) if streams else []
    begun: list[Closable] = [await loop.create_server(Echo, sock=sock) for sock in sockets]
    for address in addresses:
        sock = _bound(address, port, socket.SOCK_DGRAM)
        begun.append((await loop.create_datagram_endpoint(lambda address=address: UdpEcho(address), sock=sock))[0])
    return begun


async def start_web(certificate: Path | None = None, repositories: Path | None = None) -> list[Closable]:
    """HTTP, and HTTPS with a certificate (its key is in the same file); git's repositories, too, if there are any."""
    begun: list[Closable] = []
    for port, options in ((HTTP, None), (HTTPS, _tls(certificate) if certificate else None)):
        if port == HTTP or options is not None:
            server = tornado.httpserver.HTTPServer(application(repositories), ssl_options=options)
            server.add_sockets(_listening(port))
            begun.append(_Web(server))
    return begun


class _Web:
    """A web server with what is connected to it."""

    def __init__(self, server: tornado.httpserver.HTTPServer) -> None:
        self._server = server

    def close(self) -> None:
        self._server.stop()
        for connection in list(self._server._connections):
            connection.stream.close()


def _tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def make_certificate(directory: Path, *names: str) -> Path:
    """A certificate that is its own authority, and its key, in one file."""
    path = directory / "certificate.pem"
    alternatives = ",".join(f"DNS:{name}" for name in names)
    key = directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
         "2", "-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={alternatives}", "-keyout", key, "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + key.read_text())
    return path


def make_repository(directory: Path) -> Path:
    """A directory with one git repository, ``project.git``, with one commit."""
    work = directory / "work"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(work)]
    subprocess.run(["git", "init", "-q", "-b", "main", work], check=True)
    (work / "README").write_text("from the internet\n")
    for command in (["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    served = directory / "served"
    subprocess.run(["git", "clone", "-q", "--bare", work, served / "project.git"], check=True)
    shutil.rmtree(work)
    return served
