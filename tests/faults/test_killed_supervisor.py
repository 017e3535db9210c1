"""kill -9 of the supervisor: the server goes on to answer, and says that it has to be started again."""

import os
import signal

import httpx
import pytest

from .caller import SECONDS, Caller
from .services import running
from .traces import WORK, Traces, descriptors, loop_devices, supervisor_of, until

BEGIN = "print('begun', flush=True)\nwhile True: pass"


@pytest.fixture(scope="module")
def orphaned(tmp_path_factory):
    directory = tmp_path_factory.mktemp("service")
    with running(directory) as service, Caller(service) as caller:
        sandbox = caller.create()
        traces = Traces.of(service)
        with caller.stream(sandbox, BEGIN) as stream:
            stream.until("stdout")
            os.kill(supervisor_of(service).pid, signal.SIGKILL)
            told = stream.rest()
        yield service, caller, sandbox, told, traces


def test_a_stream_ends_truthfully(orphaned):
    last = orphaned[3][-1]
    assert (last["type"], last["status"], last["state_preserved"]) == ("exit", "died", False)
    assert "supervisor" in last["message"]


def test_its_sandboxes_answer_410(orphaned):
    _, caller, sandbox, _, _ = orphaned
    until(
        lambda: caller.http.get(f"/v1/sandboxes/{sandbox}").json()["state"] == "closed",
        SECONDS,
        "the end of the sandbox",
    )
    answer = caller.http.post(f"/v1/sandboxes/{sandbox}/exec", json={"code": "1"})
    assert (answer.status_code, answer.json()["details"]["reason"]) == (410, "crashed")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/sandboxes"), ("GET", "/v1/templates")], ids=["create", "templates"]
)
def test_what_needs_it_answers_503_with_a_sentence(orphaned, method, path):
    answer = orphaned[1].http.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == 503
    assert "restart the service" in answer.json()["error"]


def test_notebooks_and_lists_are_answered(orphaned):
    _, caller, sandbox, _, _ = orphaned
    assert caller.http.get("/v1/healthz").text.strip() == "ok"
    assert caller.http.get("/v1/sandboxes").status_code == 200
    assert "begun" in caller.http.get(f"/v1/sandboxes/{sandbox}/notebook.ipynb").text


def test_jupyters_own_kernels_answer_too(orphaned):
    service, caller, *_ = orphaned
    url = service.url.removesuffix("/podflare") + "/api/kernels"
    headers = {"Authorization": f"Bearer {caller.key}"}
    assert httpx.get(url, headers=headers, timeout=SECONDS).status_code == 200


def test_its_processes_are_gone_and_no_descriptor_holds_a_disk(orphaned):
    service, _, _, _, traces = orphaned
    below = [each for each in traces.processes if each.pid != service.process.pid]
    until(lambda: not any(each.alive() for each in below), SECONDS, "the end of all but the server")
    disks = ("/workspace", str(WORK))
    until(
        lambda: not any(path.startswith(disks) for path in descriptors(service.process.pid)),
        SECONDS,
        "no descriptor of the server leads to a disk",
    )
    (name,) = traces.supervisors
    until(lambda: not any(name in device for device in loop_devices()), SECONDS, "no disk is attached")


def test_it_ends_on_sigterm(orphaned):
    service = orphaned[0]
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(SECONDS) == 0


def test_what_the_killed_one_left_is_swept_by_the_next(orphaned, tmp_path):
    service, _, _, _, traces = orphaned
    with running(tmp_path, service.runtime_dir):
        traces.until_gone(SECONDS)
