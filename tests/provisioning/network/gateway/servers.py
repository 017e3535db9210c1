"""Servers of the tests' internet: each says by which address it was reached, and keeps what it was sent."""

import contextlib
import datetime as dt
import http.server
import ipaddress
import socket
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BIG = 3_000_000


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path; ``server.seen`` gets (address, method, path, Host, body)."""

    protocol_version = "HTTP/1.1"

    def handle_any(self):
        body = self._body()
        address = self.connection.getsockname()[0]
        self.server.seen.append((address, self.command, self.path, self.headers["Host"], body))
        answer = f"reached {address} {self.command} {self.path} {self.headers['Host']} {len(body)}".encode()
        if self.path == "/chunked":
            self._answer_in_chunks()
        elif self.path == "/until-end":
            self.close_connection = True
            self._answer(b"until the end", length=False)
        elif self.path == "/short":
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
        elif self.path == "/big":
            self._answer(bytes(BIG))
        elif self.path == "/headers":
            self._answer(str(self.headers).encode())
        elif self.path.startswith("/redirect?"):
            self.send_response(302)
            self.send_header("Location", self.path.partition("?")[2])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/upgrade":
            self._upgrade()
        else:
            self._answer(answer)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_any  # noqa: N815 - the library's names

    def _body(self):
        if self.headers.get("Expect", "").lower() == "100-continue":
            pass  # the library has answered it
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, body, *, length=True):
        self.send_response(200)
        if length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _answer_in_chunks(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (b"one,", b"two,", b"three"):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def _upgrade(self):
        """To a protocol that says everything back; only if that was asked for."""
        if self.headers.get("Upgrade") != "echo":
            self._answer(b"no upgrade asked for")
            return
        self.close_connection = True
        self.send_response(101)
        self.send_header("Connection", "upgrade")
        self.send_header("Upgrade", "echo")
        self.end_headers()
        while data := self.rfile.read1(65536):
            self.wfile.write(data)

    def log_message(self, *_):
        pass


class HttpServer(http.server.ThreadingHTTPServer):
    """On a listening socket; with a context it speaks TLS."""

    daemon_threads = True

    def __init__(self, listener, context=None, handler=Handler):
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()
        listener.settimeout(None)
        self.socket = listener
        self.context = context
        self.seen = []

    def get_request(self):
        sock, address = self.socket.accept()
        return (
            (self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address)
            if (self.context)
            else (sock, address)
        )

    def handle_error(self, *_):
        pass  # clients that go away are what is tested

    def shutdown_request(self, request):
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
        request.close()


class Stub:
    """A server of one function of a connected socket, in a thread for each."""

    def __init__(self, listener, serve):
        listener.settimeout(None)
        self._listener = listener
        self._serve = serve
        self.connections = 0

    def serve_forever(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        with contextlib.suppress(OSError), sock:
            self._serve(sock)

    def shutdown(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def server_close(self):
        self._listener.close()


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def make_certificate(directory, *names):
    """A key and a certificate of its own for these names: the path of one file that has both."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    names = [
        x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
    ]  # fmt: skip
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    path = directory / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
