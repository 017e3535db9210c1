"""A template is quiescent, leaves nothing behind, and its children share nothing."""

import signal
import tempfile
from pathlib import Path

import pytest
from supervision import WAIT_SECONDS, NotStartedError, Template

from tests.faults.traces import until

DRAWS = {
    "random": "import random; random.random()",
    "uuid1": "import uuid; uuid.uuid1().hex",
    "uuid4": "import uuid; uuid.uuid4().hex",
    "secrets": "import secrets; secrets.token_hex()",
    "tempfile": "import tempfile; next(tempfile._get_candidate_names())",
    "authkey": "import multiprocessing; bytes(multiprocessing.current_process().authkey)",
    "ssl": "import ssl; ssl.RAND_bytes(16)",
    "session": "get_ipython().kernel.session.session",
    "kernel": "get_ipython().kernel.ident",
}


def descriptors(pid):
    return {int(link.name): str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}


def test_a_ready_template_has_one_thread_and_one_socket(template):
    ready = template.configured
    assert ready["threads"] == 1
    assert ready["pid"] == template.process.pid
    assert ready["language_info"]["name"] == "python"
    kinds = [link.partition(":")[0] for fd, link in descriptors(ready["pid"]).items() if fd > 2]
    assert sorted(kinds) == ["pid", "socket"]  # its own pid namespace, to come back to after a fork into a jail


def test_a_template_names_the_module_that_does_not_import():
    template = Template(preload=["json", "no_such_library"])
    assert template.configured == {
        "event": "failed",
        "error": "The template could not import no_such_library: "
        "ModuleNotFoundError: No module named 'no_such_library'",
    }
    assert template.close() == 1


def test_a_template_leaves_no_files():
    with tempfile.TemporaryDirectory(dir="/tmp") as home:  # short: unix socket paths have 107 bytes
        template = Template(env={"TMPDIR": home, "HOME": home})
        try:
            assert template.configured["event"] == "ready", template.configured
            assert list(Path(home).iterdir()) == []
        finally:
            assert template.close() == 0


def test_a_template_survives_an_interrupt_and_keeps_no_zombies(template):
    template.process.send_signal(signal.SIGINT)
    template.spawn().close()
    until(lambda: children_of(template.process.pid) == [], WAIT_SECONDS, "it has no child, dead or alive")


def children_of(pid):
    """Zombies, too."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            children.append(stat.parent.name)
    return children


def test_a_kernel_that_cannot_start_says_where(template):
    with pytest.raises(NotStartedError) as failure:
        template.spawn(cwd="/no/such/directory")
    assert failure.value.args[0] == {
        "event": "failed",
        "where": "attach",
        "error": "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/directory'",
    }


def test_children_of_one_template_draw_different_random_numbers(template):
    kernels = [template.spawn() for _ in range(2)]
    try:
        first, second = (kernel.client() for kernel in kernels)
        same = [name for name, code in DRAWS.items() if first.value(code) == second.value(code)]
        assert same == []
    finally:
        for kernel in kernels:
            kernel.close()


def test_children_share_no_variables_and_no_descriptors(template):
    kernels = [template.spawn() for _ in range(2)]
    try:
        first, second = (kernel.client() for kernel in kernels)
        first.run("mine = 1")
        assert second.value("'mine' in globals()") == "False"
        links = [{link for link in descriptors(kernel.pid).values() if "[" in link} for kernel in kernels]
        shared = {link for link in links[0] & links[1] if not link.startswith("anon_inode:")}
        assert shared == set()
    finally:
        for kernel in kernels:
            kernel.close()


def test_a_subprocess_inherits_its_standard_streams_only(client):
    # Without a pipe or a listing, for which the shell itself would hold descriptors.
    listing = client.run("%%bash\nfor n in {0..254}; do [ ! -e /proc/$$/fd/$n ] || echo $n; done").text().split()
    assert listing == ["0", "1", "2"]


@pytest.mark.usefixtures("client")
def test_the_descriptors_of_a_kernel_are_its_sockets_pipes_and_loops(kernel):
    kinds = sorted({link.split("[")[0].rstrip(":") for link in descriptors(kernel.pid).values()})
    assert kinds == ["/dev/null", "anon_inode", "pipe", "socket"]


def test_nothing_that_a_first_cell_needs_is_imported_by_the_child(client):
    before = set(eval(client.value("import sys; sorted(sys.modules)")))
    client.run("print(6*7)")
    client.run("1/0")
    client.run("%%bash\ntrue")
    client.run("import asyncio; await asyncio.sleep(0)")
    client.reply_to(client.complete("import os; os.pa", 16))
    assert set(eval(client.value("sorted(sys.modules)"))) - before == set()
