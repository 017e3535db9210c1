"""Sandboxes' kernels behind Jupyter's own API, in the running service."""

import threading
import time

import httpx
import pytest
import websocket

from ..conftest import Service
from ..faults.traces import steady, until
from ..handlers.conftest import http, new_key, nobody, run, sandbox, stdout  # noqa: F401 - fixtures
from .attached import SECONDS, Attached, descriptors, kernel_id_of
from .test_kernels import root  # noqa: F401 - a fixture

ATTACHMENTS = 12


@pytest.fixture
def kernel(sandbox):  # noqa: F811 - the fixture
    return kernel_id_of(sandbox)


@pytest.fixture
def origin(service: Service):
    return service.url.removesuffix("/podflare")


@pytest.fixture
def attached(service, origin, kernel):
    with Attached(origin, service.key, kernel) as client:
        client.ready()
        yield client


@pytest.fixture(scope="session")
def strange_key(service):
    return new_key(service, "kernel-visitor")


@pytest.fixture
def stranger(origin, strange_key):
    with httpx.Client(base_url=origin, headers={"Authorization": f"token {strange_key}"}, timeout=60) as client:
        yield client


def cells(http, sandbox):  # noqa: F811 - the fixtures
    return http.get(f"/v1/sandboxes/{sandbox}/notebook").json()["cells"]


def test_a_sandboxs_kernel_is_listed_under_the_sandboxs_id(root, kernel):  # noqa: F811 - a fixture
    model = root.get(f"/api/kernels/{kernel}").json()
    assert (model["id"], model["name"], model["execution_state"]) == (kernel, "python-minimal", "idle")
    assert model["connections"] == 0
    assert model in root.get("/api/kernels").json()


def test_a_sandboxs_kernel_is_its_owners_alone(root, stranger, origin, strange_key, kernel):  # noqa: F811 - a fixture
    assert kernel not in [each["id"] for each in stranger.get("/api/kernels").json()]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/interrupt"), ("POST", "/restart")):
        assert stranger.request(method, f"/api/kernels/{kernel}{path}").status_code == 404
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Attached(origin, strange_key, kernel)
    assert refused.value.status_code == 404
    notebook = {"path": "theirs.ipynb", "type": "notebook", "name": "", "kernel": {"id": kernel}}
    assert stranger.post("/api/sessions", json=notebook).status_code == 404
    assert stranger.get("/api/sessions").json() == []
    taken = stranger.post("/api/kernels", json={"name": "python-minimal", "kernel_id": kernel})
    assert taken.status_code == 404, taken.text
    assert root.get(f"/api/kernels/{kernel}").status_code == 200


def test_a_person_and_an_agent_share_variables_and_the_notebook(http, root, sandbox, kernel, attached):  # noqa: F811 - the fixtures
    run(http, sandbox, "x = 41")
    assert root.get(f"/api/kernels/{kernel}").json()["connections"] == 1
    assert attached.run("x += 1\nprint(x)") == "42\n"
    assert stdout(run(http, sandbox, "print(x)")) == ["42"]
    code = [cell for cell in cells(http, sandbox) if cell["cell_type"] == "code"]
    assert ["".join(cell["source"]) for cell in code] == ["x = 41", "x += 1\nprint(x)", "print(x)"]
    assert "".join(code[1]["outputs"][0]["text"]) == "42\n"
    assert code[1]["metadata"]["podflare_nb"]["role"] == "user"


def test_a_running_cell_of_an_agent_is_seen_and_interrupted_by_those_attached(http, root, sandbox, kernel, attached):  # noqa: F811 - the fixtures
    ended = []
    agent = threading.Thread(target=lambda: ended.extend(run(http, sandbox, "import time; time.sleep(600)")))
    agent.start()
    attached.until("execute_input")
    assert root.get(f"/api/kernels/{kernel}").json()["execution_state"] == "busy"
    assert root.post(f"/api/kernels/{kernel}/interrupt").status_code == 204
    agent.join(60)
    assert ended[-1]["data"] != 0
    assert attached.run("print('alive')") == "alive\n"


def test_attaching_does_not_wait_for_what_runs(service, http, origin, sandbox, attached):  # noqa: F811 - the fixtures
    agent = threading.Thread(target=lambda: run(http, sandbox, "import time; time.sleep(600)"))
    agent.start()
    attached.until("execute_input")
    with Attached(origin, service.key, kernel_id_of(sandbox)) as second:
        second.send("interrupt_request", {}, "control")
        second.until("interrupt_reply")
    agent.join(60)


def test_deleting_the_kernel_is_refused_and_says_how(http, root, sandbox, kernel):  # noqa: F811 - the fixtures
    run(http, sandbox, "kept = 1")
    refused = root.delete(f"/api/kernels/{kernel}")
    assert refused.status_code == 409
    assert f"DELETE /podflare/v1/sandboxes/{sandbox}" in refused.json()["message"]
    assert stdout(run(http, sandbox, "print(kept)")) == ["1"]


def test_a_message_that_asks_for_a_shutdown_is_not_heard(attached):
    attached.run("kept = 1")
    attached.send("shutdown_request", {"restart": False}, "control")
    attached.until("kernel_info_reply", attached.send("kernel_info_request", {}, "control"))
    for _ in range(20):
        assert attached.run("print(kept)") == "1\n"
    assert "shutdown_reply" not in [message["header"]["msg_type"] for message in attached.log]


def test_a_notebook_binds_to_the_kernel_and_lets_go_of_it(http, root, sandbox, kernel):  # noqa: F811 - the fixtures
    notebook = {"path": "mine.ipynb", "type": "notebook", "name": "", "kernel": {"id": kernel}}
    made = root.post("/api/sessions", json=notebook)
    assert made.status_code == 201, made.text
    session = made.json()
    assert session["kernel"]["id"] == kernel
    assert root.get("/api/sessions").json() == [session]
    assert (
        root.patch(f"/api/sessions/{session['id']}", json={"path": "renamed.ipynb"}).json()["path"] == "renamed.ipynb"
    )
    assert root.delete(f"/api/sessions/{session['id']}").status_code == 204
    assert root.get("/api/sessions").json() == []
    assert stdout(run(http, sandbox, "print(1)")) == ["1"]


def test_a_notebook_moves_from_a_sandbox_to_another_kernel_without_ending_it(http, root, sandbox, kernel):  # noqa: F811 - the fixtures
    notebook = {"path": "moved.ipynb", "type": "notebook", "name": "", "kernel": {"id": kernel}}
    session = root.post("/api/sessions", json=notebook).json()
    moved = root.patch(f"/api/sessions/{session['id']}", json={"kernel": {"name": "python-minimal"}})
    assert moved.status_code == 200, moved.text
    assert moved.json()["kernel"]["id"] != kernel
    assert stdout(run(http, sandbox, "print(1)")) == ["1"]
    assert root.delete(f"/api/sessions/{session['id']}").status_code == 204
    assert moved.json()["kernel"]["id"] not in [each["id"] for each in root.get("/api/kernels").json()]


def test_sessions_are_each_tenants_own(root, stranger, kernel):  # noqa: F811 - the fixtures
    notebook = {"path": "same.ipynb", "type": "notebook", "name": ""}
    mine = root.post("/api/sessions", json={**notebook, "kernel": {"id": kernel}}).json()
    theirs = stranger.post("/api/sessions", json={**notebook, "kernel": {"name": "python-minimal"}}).json()
    try:
        assert theirs["id"] != mine["id"]
        assert [each["id"] for each in stranger.get("/api/sessions").json()] == [theirs["id"]]
        assert [each["id"] for each in root.get("/api/sessions").json()] == [mine["id"]]
        for method in ("GET", "DELETE"):
            assert stranger.request(method, f"/api/sessions/{mine['id']}").status_code == 404
        moved = stranger.patch(f"/api/sessions/{theirs['id']}", json={"kernel": {"id": kernel}})
        assert moved.status_code == 404
    finally:
        assert stranger.delete(f"/api/sessions/{theirs['id']}").status_code == 204
        assert root.delete(f"/api/sessions/{mine['id']}").status_code == 204


@pytest.mark.parametrize("body", [[], {"kernel": "k"}, {"kernel": {"id": 5}}, {"kernel": [1]}])
def test_a_session_of_a_wrong_shape_is_refused(root, body):  # noqa: F811 - a fixture
    assert root.post("/api/sessions", json=body).status_code == 400


def test_a_restart_keeps_files_the_id_and_whoever_is_attached(http, root, sandbox, kernel, attached):  # noqa: F811 - the fixtures
    attached.run("lost = 1; open('kept.txt', 'w').write('kept')")
    restarted = root.post(f"/api/kernels/{kernel}/restart")
    assert restarted.status_code == 200, restarted.text
    assert restarted.json()["id"] == kernel
    attached.until("iopub_welcome")
    assert attached.run("print(open('kept.txt').read(), 'lost' in globals())") == "kept False\n"
    assert stdout(run(http, sandbox, "print(2)")) == ["2"]
    assert not any(message["content"].get("execution_state") == "restarting" for message in attached.log)


def test_those_attached_hear_of_a_death_and_go_on_with_the_next_kernel(attached):
    for _ in range(2):
        attached.execute("import os; os._exit(1)")
        attached.until("status", execution_state="restarting")
        attached.until("iopub_welcome")
        assert attached.run("print('again')") == "again\n"


def test_those_attached_hear_of_the_end_and_are_let_go(http, root, sandbox, kernel, attached):  # noqa: F811 - the fixtures
    assert http.delete(f"/v1/sandboxes/{sandbox}").status_code == 204
    attached.until("status", execution_state="dead")
    assert attached.closed()
    assert root.get(f"/api/kernels/{kernel}").status_code == 404
    assert kernel not in [each["id"] for each in root.get("/api/kernels").json()]


def test_attaching_leaves_no_descriptor_behind(service, origin, root, kernel):  # noqa: F811 - a fixture
    def attach_and_leave():
        with Attached(origin, service.key, kernel) as client:
            assert client.run("print(1)") == "1\n"

    attach_and_leave()
    # Kernels that are held in advance hold descriptors, too, and some may be on their way.
    before = steady(lambda: descriptors(service.process.pid), SECONDS)
    for _ in range(ATTACHMENTS):
        attach_and_leave()
    until(lambda: descriptors(service.process.pid) <= before + 2, SECONDS, "no descriptor stays")
    assert root.get(f"/api/kernels/{kernel}").json()["connections"] == 0


def test_a_client_that_never_reads_is_let_go(service, http, origin, root, sandbox):  # noqa: F811 - the fixtures
    flood = (
        "from IPython.display import display\nfor _ in range(60): display({'text/plain': 'x' * 4_000_000}, raw=True)"
    )
    kernel = kernel_id_of(sandbox)
    with Attached(origin, service.key, kernel) as deaf:
        deaf.ready()
        run(http, sandbox, flood)
        deadline = time.monotonic() + 60
        while root.get(f"/api/kernels/{kernel}").json()["connections"]:
            assert time.monotonic() < deadline, "it is still connected"
    after = run(http, sandbox, "print('still here')")
    assert stdout(after) == ["still here"], after


def test_after_a_merge_the_parents_tab_goes_on_and_the_winners_is_let_go(service, http, origin, sandbox, attached):  # noqa: F811 - the fixtures
    attached.run("x = 1")
    winner = http.post(f"/v1/sandboxes/{sandbox}/fork", json={"n": 1}).json()["children"][0]
    with Attached(origin, service.key, kernel_id_of(winner)) as other:
        other.ready()
        other.run("x = 2")
        assert http.post(f"/v1/sandboxes/{sandbox}/merge_into/{winner}").status_code == 204
        attached.until("iopub_welcome")
        assert attached.run("print(x)") == "2\n"
        assert other.closed()
