"""kill -9 of the supervisor: what it held is lost and said to be; the server answers, and starts the next one."""

import os
import signal
from dataclasses import replace

import httpx
import pytest

from .caller import SECONDS, Caller
from .services import running
from .traces import SUPERVISOR, WORK, Traces, descendants, descriptors, supervisor_of, until

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


def test_nothing_is_left_of_it(orphaned):
    service, _, _, _, traces = orphaned
    below = tuple(each for each in traces.processes if each.pid != service.process.pid)
    replace(traces, processes=below).until_gone(SECONDS)  # the next one has swept it
    disks = ("/workspace", str(WORK))
    until(
        lambda: not any(path.startswith(disks) for path in descriptors(service.process.pid)),
        SECONDS,
        "no descriptor of the server leads to a disk",
    )


def test_the_next_one_makes_sandboxes_and_jupyters_kernels(orphaned):
    service, caller, *_ = orphaned
    states = {each["name"]: each["state"] for each in caller.http.get("/v1/templates").json()["templates"]}
    assert "python-minimal" in states
    assert caller.run(caller.create(), "print(6*7)").text() == "42"
    url = service.url.removesuffix("/podflare") + "/api/kernels"
    headers = {"Authorization": f"Bearer {caller.key}"}
    started = httpx.post(url, headers=headers, json={"name": "python-minimal"}, timeout=SECONDS)
    assert started.status_code == 201, started.text


def test_killed_again_it_is_there_again(orphaned):
    service, caller, *_ = orphaned
    sandbox = caller.create()
    killed = supervisor_of(service)
    with caller.stream(sandbox, BEGIN) as stream:
        stream.until("stdout")
        os.kill(killed.pid, signal.SIGKILL)
        assert stream.rest()[-1]["status"] == "died"
    assert caller.run(caller.create(), "print(1)").text() == "1"
    assert supervisor_of(service) != killed


def test_a_service_that_is_ended_while_the_next_one_starts_leaves_what_is_swept(tmp_path, tmp_path_factory):
    with running(tmp_path) as service:
        traces = Traces.of(service)
        killed = supervisor_of(service)
        os.kill(killed.pid, signal.SIGKILL)
        until(lambda: bool(following := supervisors(service)) and following != [killed], SECONDS, "the next one starts")
        (following,) = supervisors(service)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(SECONDS) == 0
        assert not following.alive()
        with running(tmp_path_factory.mktemp("next"), service.runtime_dir):
            traces.until_gone(SECONDS)


def supervisors(service):
    return [each for each in descendants(service.process.pid) if SUPERVISOR in each.command]


def test_it_ends_on_sigterm_and_nothing_is_left(orphaned):
    service = orphaned[0]
    traces = Traces.of(service)
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(SECONDS) == 0
    traces.until_gone(SECONDS)
