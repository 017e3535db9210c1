"""kill -9 of what the server stands on: told truthfully, replaced where it can be, and never a call that hangs."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from podflare_nb.provisioning.pool import SPARE_JAILS

from ..conftest import LOG
from .caller import SECONDS, Caller
from .services import running
from .traces import (
    Traces,
    descriptors,
    init_of,
    kernel_named,
    loop_devices,
    steady,
    template_of,
    until,
    warm_kernels,
)

SPARE = 2 * SPARE_JAILS
"""Jails that the supervisor makes ahead, without a kernel."""
BEGIN = "open('/proc/self/comm', 'w').write({name!r})\nprint('begun', flush=True)\nwhile True: pass"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def caller(service):
    with Caller(service) as caller:
        yield caller


def killed_in_mid_cell(service, caller, sandbox, find):
    """Runs a cell without end, kills what ``find`` gives of its kernel, and reads what the client is told."""
    with caller.stream(sandbox, BEGIN.format(name="in-mid-cell")) as stream:
        stream.until("stdout")
        os.kill(find(kernel_named(service, "in-mid-cell")).pid, signal.SIGKILL)
        return stream.rest()


def test_a_killed_kernel_ends_its_stream_truthfully_and_the_files_are_kept(service, caller):
    with caller.sandbox() as sandbox:
        caller.run(sandbox, "open('note.txt', 'w').write('kept'); x = 1")
        told = killed_in_mid_cell(service, caller, sandbox, lambda kernel: kernel)[-1]
        assert (told["type"], told["status"], told["data"]) == ("exit", "died", 137)
        assert told["state_preserved"] is False
        assert "SIGKILL" in told["message"]
        ran = caller.run(sandbox, "print(open('note.txt').read(), 'x' in globals())")
        assert ran.text() == "kept False"
        assert "variables are lost" in ran.notice("kernel_restarted")["message"]


def test_an_execution_that_waits_runs_in_the_next_kernel_and_is_told_so(service, caller):
    with caller.sandbox() as sandbox, caller.stream(sandbox, BEGIN.format(name="in-mid-cell")) as first:
        first.until("stdout")
        with Caller(service) as other, other.stream(sandbox, "print('ran')") as second:
            os.kill(kernel_named(service, "in-mid-cell").pid, signal.SIGKILL)
            events = second.rest()
        assert [event["type"] for event in events] == ["notice", "stdout", "exit"]
        assert events[-1]["data"] == 0
        assert first.rest()[-1]["status"] == "died"


def test_a_killed_kernel_keeps_the_environment_that_its_sandbox_was_made_with(service, caller):
    with caller.sandbox(env={"GREETING": "hello"}) as sandbox:
        killed_in_mid_cell(service, caller, sandbox, lambda kernel: kernel)
        assert caller.run(sandbox, "import os; print(os.environ.get('GREETING'))").text() == "hello"


def test_a_sandbox_whose_kernels_died_leaves_no_descriptor_and_no_disk_once_closed(service, caller):
    (name,) = Traces.of(service).supervisors
    with caller.sandbox() as sandbox:
        caller.run(sandbox, "1")
    before = steady(lambda: len(descriptors(service.process.pid)), SECONDS)
    sandbox = caller.create()
    for _ in range(3):
        caller.run(sandbox, "import os; os._exit(1)")
        assert caller.run(sandbox, "print(1)").text() == "1"
    caller.close(sandbox)
    until(lambda: len(descriptors(service.process.pid)) <= before, SECONDS, "as many descriptors as before")
    until(lambda: disks(name) <= pool_disks(service), SECONDS, f"only the pool's disks: {loop_devices()}")


def disks(name):
    return sum(name in device for device in loop_devices())


def pool_disks(service):
    return sum("podflare-nb-init" in each.command for each in Traces.of(service).processes)


def test_without_pid_1_of_its_jail_a_sandbox_ends_and_says_so(service, caller):
    with caller.sandbox() as sandbox, caller.sandbox() as neighbour:
        caller.run(neighbour, "x = 1")
        template = kernel_template(service)
        told = killed_in_mid_cell(service, caller, sandbox, lambda kernel: init_of(service, kernel))[-1]
        assert (told["type"], told["status"], told["state_preserved"]) == ("exit", "died", False)
        until(
            lambda: caller.http.get(f"/v1/sandboxes/{sandbox}").json()["state"] == "closed",
            SECONDS,
            "the end of the sandbox",
        )
        assert kernel_template(service).pid == template.pid
        answer = caller.http.post(f"/v1/sandboxes/{sandbox}/exec", json={"code": "1"})
        assert answer.status_code == 410
        assert answer.json()["details"]["reason"] == "crashed"
        assert "could not be replaced" in answer.json()["error"]
        assert caller.run(neighbour, "print(x)").text() == "1"


def test_jails_that_wait_and_lost_their_pid_1_are_passed_over_and_leave_nothing(service, caller):
    with caller.sandbox() as sandbox:
        caller.run(sandbox, "1")
    until(lambda: pool_disks(service) >= SPARE, SECONDS, "jails are held in advance")
    (name,) = Traces.of(service).supervisors
    for each in Traces.of(service).processes:
        if "podflare-nb-init" in each.command:
            os.kill(each.pid, signal.SIGKILL)
    made = [caller.create(env={"A": "1"}) for _ in range(4)]
    for sandbox in made:
        assert caller.run(sandbox, "print(1)").text() == "1"
        caller.close(sandbox)
    until(lambda: disks(name) <= pool_disks(service) + SPARE, SECONDS, "no disk but those of jails that still wait")


def test_a_killed_template_is_started_again_and_its_kernels_live_on(service, caller):
    with caller.sandbox() as before, caller.stream(before, BEGIN.format(name="goes-on")) as going_on:
        going_on.until("stdout")
        template = kernel_template(service)
        os.kill(template.pid, signal.SIGKILL)
        # None of these fits the pool: each needs a fork of the template.
        after = [caller.create(env={"N": str(n)}) for n in range(2)]
        for sandbox in after:
            assert caller.run(sandbox, "print(1)").text() == "1"
            caller.close(sandbox)
        assert kernel_template(service).pid != template.pid
        assert caller.http.post(f"/v1/sandboxes/{before}/interrupt", json={}).status_code == 202
        assert going_on.rest()[-1]["status"] == "interrupted"
    assert "could not be built" not in (service.data_dir / LOG).read_text()


def test_a_kernel_of_a_template_that_was_killed_is_replaced_when_it_dies(service, caller):
    with caller.sandbox() as sandbox:
        caller.run(sandbox, "open('note.txt', 'w').write('kept')")
        os.kill(kernel_template(service).pid, signal.SIGKILL)
        assert caller.run(sandbox, "import os; os._exit(1)").exit["status"] == "died"
        assert caller.run(sandbox, "print(open('note.txt').read())").text() == "kept"


def kernel_template(service):
    template = template_of(service, "python-minimal")
    assert template is not None
    return template


def test_a_template_that_is_killed_again_while_it_loads_comes_back(service, caller):
    first = kernel_template(service)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not first.alive(), SECONDS, "the end of the template")
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(caller.http.post, "/v1/sandboxes", json={"template": "python-minimal", "env": {"A": "1"}})
        until(lambda: template_of(service, "python-minimal") is not None, SECONDS, "a new template")
        os.kill(kernel_template(service).pid, signal.SIGKILL)
        assert asked.result(SECONDS).status_code in (200, 503)
    until(lambda: is_created(caller), SECONDS, "a create that is answered")


def is_created(caller):
    answer = caller.http.post("/v1/sandboxes", json={"template": "python-minimal", "env": {"A": "1"}})
    if answer.status_code == 200:
        caller.close(answer.json()["id"])
    else:
        assert answer.status_code == 503, answer.text
    return answer.status_code == 200


def test_a_kernel_that_died_before_anybody_took_it_is_not_handed_out_and_leaves_nothing(service, caller):
    with caller.sandbox() as sandbox:
        caller.run(sandbox, "1")
    until(lambda: len(warm_kernels(service, "python-minimal")) >= 2, SECONDS, "kernels are held in advance")
    (name,) = Traces.of(service).supervisors
    for each in warm_kernels(service, "python-minimal"):
        os.kill(each.pid, signal.SIGKILL)
    made = [caller.create() for _ in range(4)]
    for sandbox in made:
        assert caller.run(sandbox, "print(1)").text() == "1"
        caller.close(sandbox)
    until(
        lambda: disks(name) <= len(warm_kernels(service, "python-minimal")) + SPARE, SECONDS, "no jail without a kernel"
    )
