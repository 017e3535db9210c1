"""Sandboxes' kernels in a user's own Jupyter server that has the extension."""

import pytest

from ..app.test_extension import TOKEN, jupyter  # noqa: F401 - a fixture
from .attached import Attached, kernel_id_of


def test_a_users_own_server_offers_its_sandboxes_beside_its_kernels(jupyter):  # noqa: F811 - the fixture
    origin = str(jupyter.base_url).rstrip("/")
    sandbox = jupyter.post("/podflare/v1/sandboxes", json={"template": "python-minimal"}).json()["id"]
    kernel = kernel_id_of(sandbox)
    own = jupyter.post("/api/kernels", json={"name": "python3"}).json()["id"]
    assert {kernel, own} == {each["id"] for each in jupyter.get("/api/kernels").json()}
    with Attached(origin, TOKEN, kernel) as client, Attached(origin, TOKEN, own) as other:
        client.ready()
        other.ready()
        assert client.run("import os; print(os.getcwd())") == "/workspace\n"
        assert other.run("print('its own')") == "its own\n"
    notebook = {"path": "mine.ipynb", "type": "notebook", "name": "", "kernel": {"id": kernel}}
    session = jupyter.post("/api/sessions", json=notebook).json()
    assert session["kernel"]["id"] == kernel
    assert jupyter.delete(f"/api/kernels/{kernel}").status_code == 409
    assert jupyter.delete(f"/api/sessions/{session['id']}").status_code == 204
    assert jupyter.delete(f"/api/kernels/{own}").status_code == 204
    assert [each["id"] for each in jupyter.get("/api/kernels").json()] == [kernel]


@pytest.mark.parametrize("jupyter", [{"JUPYTER_GATEWAY_URL": "http://127.0.0.1:1"}], indirect=True)
def test_a_server_behind_a_gateway_still_starts(jupyter):  # noqa: F811 - the fixture
    assert jupyter.get("/podflare/v1/healthz").text == "ok"
