"""A sleeping child is cheap, deaf, forks again and again, and ends with its ctl; what else a live kernel obeys."""

import json
import os
import signal
from pathlib import Path

import pytest
from supervision import datagrams


@pytest.fixture
def asleep(kernel, client):
    client.run("state = [0] * 1000")
    (child,) = kernel.fork().children
    yield child
    child.close()


def status(pid, field):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].split()[0] for line in lines if line.startswith(field))


def private_kib(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def test_it_has_one_thread_little_memory_and_no_connection(asleep):
    assert status(asleep.pid, "Threads") == "1"
    assert private_kib(asleep.pid) < 8 << 10
    links = [str(link.readlink()) for link in Path(f"/proc/{asleep.pid}/fd").iterdir()]
    assert sorted(link.partition(":")[0] for link in links) == ["/dev/null"] * 4 + ["/proc", "socket"]


def test_it_is_alone_in_its_group_and_hears_no_signal(kernel, asleep):
    assert os.getpgid(asleep.pid) == asleep.pid
    assert os.getsid(asleep.pid) != os.getsid(kernel.pid)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.pidfd_send_signal(asleep.pidfd, each)
    (copy,) = asleep.fork()
    copy.close()


def test_it_can_be_forked_again_and_again_and_stays_as_it_is(asleep):
    for number in range(3):
        (copy,) = asleep.fork()
        child = copy.serve()
        client = child.client()
        client.run(f"state.append({number})")
        assert client.value("len(state), state[-1]") == f"(1001, {number})"
        child.close()
    assert len(list(Path(f"/proc/{asleep.pid}/fd").iterdir())) == 6


def test_children_of_one_sleeper_draw_different_random_numbers(kernel, client):
    client.run("import random, numpy as np; random.seed(1); rng = np.random.default_rng(1)")
    (asleep,) = kernel.fork().children
    drawn = set()
    for copy in asleep.fork(2):
        child = copy.serve()
        drawn.add(child.client().value("random.random(), rng.random()"))
        child.close()
    asleep.close()
    assert len(drawn) == 2


def test_it_leaves_no_zombies_of_those_it_made(asleep):
    for copy in asleep.fork(3):
        copy.close()
    assert Path(f"/proc/{asleep.pid}/task/{asleep.pid}/children").read_text() == ""


def test_it_refuses_what_it_does_not_know_and_survives_what_is_no_message(asleep):
    asleep.ctl.send({"op": "no such thing", "id": 5})
    assert asleep.ctl.receive()["code"] == "unknown"
    asleep.ctl.socket.send(b"not JSON")
    asleep.ctl.socket.send(b"[]")
    (copy,) = asleep.fork()
    copy.close()


def test_a_woken_child_is_a_kernel_that_can_be_forked_and_interrupted(asleep):
    (copy,) = asleep.fork()
    child = copy.serve()
    client = child.client()
    request = client.execute("print('runs')\nwhile True: pass")
    client.until_text("runs")
    child.interrupt()
    assert client.reply_to(request)["ename"] == "KeyboardInterrupt"
    (grandchild,) = child.fork().children
    awake = grandchild.serve()
    assert awake.client().value("len(state)") == "1000"
    awake.close()
    child.close()


def test_garbage_is_collected_again_in_a_woken_child(asleep):
    (copy,) = asleep.fork()
    child = copy.serve()
    assert child.client().value("__import__('gc').isenabled()") == "True"
    child.close()


def test_a_new_key_is_taken_and_the_old_one_is_not_heard(kernel, client):
    assert client.value("1") == "1"
    answer = kernel.order("rekey", key="another-key")
    assert answer.body == {"event": "rekeyed", "id": 9}
    old = client.execute("never = 1")
    kernel.connection["key"] = "another-key"
    fresh = kernel.client()
    assert fresh.value("'never' in globals()") == "False"
    client.session.key = b"another-key"
    assert client.value("2") == "2"
    assert old


def test_variables_are_described_between_cells(kernel, client):
    client.run("mine = 1")
    answer = kernel.order("variables", budget_seconds=30.0)
    assert answer.body == {"event": "variables", "id": 9}
    with os.fdopen(answer.fds[0], "rb") as file:
        file.seek(0)
        described = json.loads(file.read())
    assert "mine" in json.dumps(described)


def test_variables_are_refused_while_a_cell_runs(kernel, client):
    request = client.execute("print('runs')\nimport time\nwhile True: time.sleep(.01)")
    client.until_text("runs")
    answer = kernel.order("variables", budget_seconds=1.0, wait_seconds=0.1)
    assert (answer.body["event"], answer.body["code"]) == ("refused", "busy")
    kernel.interrupt()
    client.reply_to(request)


def test_a_description_that_hangs_is_broken_off(kernel, client):
    client.run(
        "from podflare_nb.provisioning.kernel import inspection\nimport threading\n"
        "inspection.GRACE_SECONDS = 0.1\ninspection.describe = lambda *_: threading.Event().wait()"
    )
    answer = kernel.order("variables", budget_seconds=0.1)
    assert (answer.body["code"], answer.body["error"].partition(":")[0]) == ("failed", "KeyboardInterrupt")
    assert client.value("1") == "1"


def test_a_description_that_is_too_large_is_refused(kernel, client):
    client.run(
        "from podflare_nb.provisioning.kernel import inspection\n"
        "inspection.describe = lambda *_: {'x': 'y' * (inspection.MAX_BYTES + 1)}"
    )
    answer = kernel.order("variables", budget_seconds=30.0)
    assert (answer.body["event"], answer.body["code"]) == ("refused", "failed")
    assert isinstance(answer, datagrams.Datagram)
