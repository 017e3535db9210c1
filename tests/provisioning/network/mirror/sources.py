"""Real packages made here, and servers that offer them as the public indexes do, or as a hostile one would."""

import base64
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RELEASE_SECONDS = 120
"""Longer than a test waits for anything: what goes on only because this is over has failed."""


@dataclass
class Answer:
    """What a server says. ``cut``: it announces the whole body and sends only so many bytes."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    release: threading.Event | None = None
    """The second half of the body waits for this."""


@dataclass
class Asked:
    """A request as the server got it."""

    path: str
    headers: dict[str, str]


class Server:
    """An upstream on a port of its own. ``answers``: by path, an Answer or what makes one of an Asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[Asked], Answer]] = {}
        self.asked: list[Asked] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()})
                server.asked.append(asked)
                found = server.answers.get(self.path, Answer(b"nothing here", 404))
                answer = found(asked) if callable(found) else found
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                half = len(answer.body) // 2 if answer.release else 0
                self.wfile.write(answer.body[:half])
                if answer.release:
                    self.wfile.flush()
                    assert answer.release.wait(RELEASE_SECONDS)
                self.wfile.write(answer.body[half : answer.cut])
                self.close_connection = answer.cut is not None

            def log_message(self, *_: object) -> None:
                pass

        class Listening(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A mirror that breaks off is no error of the test's."""

        self._server = Listening(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def wheel(name: str, version: str = "1.0", *, code: str = "VALUE = 42\n", padding: int = 0) -> tuple[str, bytes]:
    """File name and bytes of a pure wheel; ``padding``: incompressible bytes in it."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": code.encode(),
        f"{info}/METADATA": metadata(name, version),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if padding:
        files[f"{name}/padding.bin"] = hashlib.shake_128(name.encode()).digest(padding)
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}\n"
        for path, content in files.items()
    )
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return f"{name}-{version}-py3-none-any.whl", packed.getvalue()


def metadata(name: str, version: str) -> bytes:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def offer_wheel(server: Server, name: str, **more: object) -> bytes:
    """A project with one wheel, whose page is JSON as the public index's; its bytes. ``more``: fields of the file."""
    file, content = wheel(name, padding=int(more.pop("padding", 0)))
    entry = {
        "filename": file, "url": f"{server.url}/files/{file}", "hashes": {"sha256": sha256(content)},
        "core-metadata": {"sha256": sha256(metadata(name, "1.0"))}, "yanked": False, **more,
    }  # fmt: skip
    server.answers[f"/simple/{name}/"] = simple_page(name, [entry])
    server.answers[f"/files/{file}"] = Answer(content)
    server.answers[f"/files/{file}.metadata"] = Answer(metadata(name, "1.0"))
    return content


def simple_page(name: str, files: list[dict]) -> Answer:
    body = {"meta": {"api-version": "1.0"}, "name": name, "files": files}
    return Answer(json.dumps(body).encode(), headers={"Content-Type": "application/vnd.pypi.simple.v1+json"})


def offer_npm(server: Server, name: str, **dist: object) -> bytes:
    """A package with one version; its tarball's bytes. ``dist``: other values for its fields."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, text in {
            "package/package.json": json.dumps({"name": name, "version": "1.0.0", "main": "index.js"}),
            "package/index.js": "module.exports = 42;\n",
        }.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    content = packed.getvalue()
    file = f"{name.rpartition('/')[2]}-1.0.0.tgz"
    told = {
        "tarball": f"{server.url}/{name}/-/{file}",
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode(),
        "shasum": hashlib.sha1(content).hexdigest(), **dist,
    }  # fmt: skip
    packument = {
        "name": name, "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": {"name": name, "version": "1.0.0", "dist": told}},
    }  # fmt: skip
    server.answers["/" + name.replace("/", "%2f")] = Answer(json.dumps(packument).encode())
    server.answers[f"/{name}/-/{file}"] = Answer(content)
    return content


def offer_debian(server: Server, directory: Path, postinst: str = "") -> Path:
    """A signed archive of one package, ``pfnb-hello``, at ``/debian/``; the public key's file. ``postinst``: a script
    that is run when it is installed."""
    tree = directory / "package"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: pfnb-hello\nVersion: 1.0\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: test\n"
    )
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/pfnb-hello").write_text("#!/bin/sh\necho hello from a package\n")
    (tree / "usr/bin/pfnb-hello").chmod(0o755)
    if postinst:
        (tree / "DEBIAN/postinst").write_text(postinst)
        (tree / "DEBIAN/postinst").chmod(0o755)
    deb = directory / "pfnb-hello_1.0_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, capture_output=True)
    pool = "pool/main/p/pfnb-hello_1.0_all.deb"
    content = deb.read_bytes()
    packages = (
        (tree / "DEBIAN/control").read_text() + f"Filename: {pool}\nSize: {len(content)}\nSHA256: {sha256(content)}\n\n"
    ).encode()
    index = gzip.compress(packages)
    listed = "".join(
        f" {sha256(body)} {len(body)} main/binary-amd64/{name}\n"
        for name, body in (("Packages", packages), ("Packages.gz", index))
    )
    release = (
        "Suite: test\nCodename: test\nArchitectures: amd64\nComponents: main\nAcquire-By-Hash: yes\n"
        f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{listed}"
    )
    key, signed = _signed(release, directory)
    base = "/debian/dists/test"
    for path, body in {
        f"{base}/InRelease": signed, f"{base}/main/binary-amd64/by-hash/SHA256/{sha256(index)}": index,
        f"{base}/main/binary-amd64/Packages.gz": index, f"/debian/{pool}": content,
    }.items():  # fmt: skip
        server.answers[path] = Answer(body)
    return key


def _signed(text: str, directory: Path) -> tuple[Path, bytes]:
    """An OpenPGP key made for this, and the text signed in the clear."""
    home = directory / "gnupg"
    home.mkdir(mode=0o700)

    def gpg(*arguments: str, given: bytes = b"") -> bytes:
        command = [
            "gpg",
            "--homedir",
            str(home),
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        return subprocess.run([*command, *arguments], input=given, check=True, capture_output=True).stdout

    try:
        gpg("--quick-gen-key", "test@example.org", "ed25519", "sign")
        key = directory / "archive.asc"
        key.write_bytes(gpg("--armor", "--export", "test@example.org"))
        return key, gpg("--clearsign", given=text.encode())
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)


def lines_of(tables: dict[str, dict[str, object]]) -> Iterator[str]:
    """TOML of one level of tables; keys are quoted, as an archive's address must be."""
    for name, values in tables.items():
        yield f"[{name}]"
        for key, value in values.items():
            yield f"{json.dumps(key)} = {json.dumps(value)}"
