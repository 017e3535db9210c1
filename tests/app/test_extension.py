import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ..conftest import read_until
from ..provisioning.network.internet_servers import make_certificate

JUPYTER = str(Path(sys.executable).with_name("jupyter"))
TOKEN = "a-token-of-the-users-own-jupyter"


def jupyter_environment(home: Path) -> dict[str, str]:
    config = home / "config" / "jupyter_server_config.d"
    config.mkdir(parents=True)
    (config / "podflare_nb.json").write_text('{"ServerApp": {"jpserver_extensions": {"podflare_nb": true}}}')
    return {
        **os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "JUPYTER_TOKEN": TOKEN,
        "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
    }  # fmt: skip


def test_importing_the_package_loads_no_server_and_no_client():
    code = (
        "import sys, podflare_nb; "
        "heavy = {'tornado', 'jupyter_server', 'httpx', 'pydantic', 'sqlalchemy', 'typer', 'zmq', 'IPython'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_package_gives_the_client_when_it_is_named():
    import podflare_nb  # noqa: PLC0415 - the import is what is tested

    assert podflare_nb.Sandbox.__name__ == "Sandbox"
    assert podflare_nb.AsyncSandbox.__name__ == "AsyncSandbox"
    with pytest.raises(AttributeError, match="Nothing"):
        _ = podflare_nb.Nothing


def test_jupyter_lists_the_extension_as_ok(tmp_path):
    listed = subprocess.run(
        [JUPYTER, "server", "extension", "list"],
        capture_output=True, text=True, check=True, env=jupyter_environment(tmp_path),
    )  # fmt: skip
    lines = [line for line in (listed.stdout + listed.stderr).splitlines() if "podflare_nb" in line]
    assert any("OK" in line for line in lines), listed.stderr


@contextmanager
def started_jupyter(tmp_path, environment, *options):
    """A user's own jupyter server, with the extension; whatever its certificate says."""
    process = subprocess.Popen(
        [JUPYTER, "server", "--port=0", "--ServerApp.port_retries=0", "--no-browser", "--allow-root",
         f"--ServerApp.root_dir={tmp_path}", "--ServerApp.allow_unauthenticated_access=False", *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        env=jupyter_environment(tmp_path) | environment,
    )  # fmt: skip
    try:
        where = r"https?://127\.0\.0\.1:\d+"
        origin = re.search(where, read_until(process, f"{where}/", 60))[0]
        headers = {"Authorization": f"token {TOKEN}"}
        # Jupyter says where it is before it listens there.
        connecting = httpx.HTTPTransport(retries=6, verify=False)
        with httpx.Client(base_url=origin, headers=headers, timeout=90, transport=connecting) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def jupyter(tmp_path, request):
    with started_jupyter(tmp_path, getattr(request, "param", {})) as client:
        yield client


def test_a_users_own_jupyter_server_serves_sandboxes_to_its_user(jupyter):
    assert jupyter.get("/podflare/v1/healthz").text == "ok"
    made = jupyter.post("/podflare/v1/sandboxes", json={"template": "python-minimal"})
    assert made.status_code == 200, made.text
    path = f"/podflare/v1/sandboxes/{made.json()['id']}"
    told = jupyter.post(f"{path}/exec", json={"code": "print(6*7)"}).text.splitlines()
    assert json.loads(told[0])["data"] == "42"
    assert jupyter.delete(path).status_code == 204
    assert jupyter.get("/api/kernels").status_code == 200


def test_a_users_own_jupyter_server_serves_sandboxes_over_tls(tmp_path):
    certificate = make_certificate(tmp_path, "localhost")
    options = f"--ServerApp.certfile={certificate}", f"--ServerApp.keyfile={certificate}"
    with started_jupyter(tmp_path, {}, *options) as jupyter:
        made = jupyter.post("/podflare/v1/sandboxes", json={"template": "python-minimal"})
        assert made.status_code == 200, made.text
        path = f"/podflare/v1/sandboxes/{made.json()['id']}"
        assert "42" in jupyter.post(f"{path}/exec", json={"code": "print(6*7)"}).text
        assert len(jupyter.post(f"{path}/fork", json={"n": 1}).json()["children"]) == 1


def test_nobody_else_gets_in_to_a_users_own_jupyter_server(jupyter):
    answer = jupyter.get("/podflare/v1/sandboxes", headers={"Authorization": "token wrong"})
    assert answer.status_code == 401
    assert jupyter.get("/podflare/v1/nothing").json()["code"] == "not_found"


@pytest.mark.parametrize("jupyter", [{"XDG_DATA_HOME": "/proc/nothing"}], indirect=True)
def test_a_host_where_the_service_cannot_be_had_goes_on_without_it(jupyter):
    answer = jupyter.get("/podflare/v1/sandboxes")
    assert answer.status_code in {409, 503}
    assert "/proc/nothing" in answer.json()["error"]
    assert jupyter.get("/api/status").status_code == 200
