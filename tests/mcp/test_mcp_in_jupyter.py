"""The endpoint inside a user's own Jupyter server, which listens where no loopback call would find it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ..conftest import read_until
from .conftest import ACCEPT, SECONDS, answer_of, initialize

TOKEN = "a-token-of-the-users-own-jupyter"


def certificate(directory: Path) -> Path:
    """A file with a key and its certificate, signed by itself and for another name than the server's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another-name.example")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    signed = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    encodings = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = directory / "server.pem"
    file.write_bytes(key.private_bytes(*encodings) + signed)
    return file


@pytest.fixture
def jupyter(tmp_path: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A Jupyter server with TLS, another address of this machine and a base URL; and where it is."""
    config = tmp_path / "config" / "jupyter_server_config.d"
    config.mkdir(parents=True)
    (config / "podflare_nb.json").write_text('{"ServerApp": {"jpserver_extensions": {"podflare_nb": true}}}')
    environment = {
        **os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "JUPYTER_TOKEN": TOKEN,
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "PODFLARE_NB_POOL_SIZE": "0",
    }  # fmt: skip
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("jupyter")), "server", "--port=0", "--ServerApp.port_retries=0",
         "--no-browser", "--allow-root", "--ip=127.0.0.2", "--ServerApp.base_url=/at/home/",
         f"--ServerApp.certfile={certificate(tmp_path)}", f"--ServerApp.root_dir={tmp_path}",
         "--ServerApp.allow_unauthenticated_access=False"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    try:
        where = r"https://127\.0\.0\.2:\d+/at/home/"
        yield process, re.search(where, read_until(process, where, SECONDS))[0] + "podflare"
    finally:
        process.terminate()
        # Shown when the test fails.
        sys.stdout.write(process.communicate(timeout=SECONDS)[0].decode())


def test_tools_work_behind_tls_another_address_and_a_base_url_and_end_with_the_server(
    jupyter: tuple[subprocess.Popen, str],
):
    process, base = jupyter
    headers = {"Authorization": f"token {TOKEN}", **ACCEPT}
    create = {
        "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "create_sandbox", "arguments": {"template": "python-minimal"}},
    }  # fmt: skip
    run = {**create, "params": {"name": "run_python", "arguments": {"code": "6 * 7"}}}
    # Jupyter says where it is before it listens there.
    connecting = httpx.HTTPTransport(verify=False, retries=6)
    with httpx.Client(headers=headers, timeout=SECONDS, transport=connecting) as http:
        begun = http.post(f"{base}/mcp", json=initialize())
        session = {"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]}
        made = answer_of(http.post(f"{base}/mcp", json=create, headers=session))["result"]
        assert "isError" not in made or not made["isError"], made
        assert answer_of(http.post(f"{base}/mcp", json=run, headers=session))["result"]["content"][0]["text"] == "42"
        with http.stream("GET", f"{base}/mcp", headers=session) as listening:
            process.terminate()
            printed = process.stdout.read().decode()
            assert process.wait(SECONDS) == 0
            assert listening.read() == b""
    assert "Traceback" not in printed, printed
    assert "pending" not in printed
