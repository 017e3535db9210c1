"""Jupyter's own clients start jailed, forked kernels through the kernelspec's provisioner stanza."""

import os
import signal
import tempfile
import time

import jupyter_kernel_test
import nbformat
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient

TEMPLATE = "python-minimal"
REPLY_SECONDS = 60


@pytest.fixture(scope="module", autouse=True)
def own_runtime_dir():
    """A supervisor of this process's own, not some running service's."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tempfile.mkdtemp(prefix="pfnb-", dir="/tmp")  # short: unix socket paths have 107 bytes
        patch.setenv("PODFLARE_NB_RUNTIME_DIR", directory)
        yield


@pytest.fixture
def manager():
    running = KernelManager(kernel_name=TEMPLATE)
    running.start_kernel()
    yield running
    running.shutdown_kernel(now=True)


@pytest.fixture
def client(manager):
    connected = manager.client()
    connected.start_channels()
    connected.wait_for_ready(timeout=REPLY_SECONDS)
    yield connected
    connected.stop_channels()


def run(client, code: str) -> tuple[str, dict]:
    text = []

    def collect(message):
        if message["msg_type"] == "stream":
            text.append(message["content"]["text"])

    reply = client.execute_interactive(code, output_hook=collect, timeout=REPLY_SECONDS, allow_stdin=False)
    return "".join(text), reply["content"]


def test_jupyter_client_gets_a_jailed_kernel(client):
    told, _ = run(client, "import os, platform; print(os.getcwd(), platform.node(), os.getuid())")
    assert told == "/workspace sandbox 0\n"


def test_an_interrupt_through_the_manager_ends_a_cell(manager, client):
    request = client.execute("print('begun')\nwhile True: pass")
    while client.get_iopub_msg(timeout=REPLY_SECONDS)["msg_type"] != "stream":
        pass
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=REPLY_SECONDS)
    assert reply["parent_header"]["msg_id"] == request
    assert reply["content"]["ename"] == "KeyboardInterrupt"


def test_a_restart_keeps_the_files_and_the_clients_but_not_the_variables(manager, client):
    run(client, "x = 1; open('kept', 'w').write('here')")
    manager.restart_kernel(now=True)
    client.wait_for_ready(timeout=REPLY_SECONDS)
    told, _ = run(client, "print(open('kept').read(), 'x' in globals())")
    assert told == "here False\n"


def test_a_polite_shutdown_ends_the_kernel_by_itself(manager, client):
    client.shutdown()
    deadline = time.monotonic() + REPLY_SECONDS
    while manager.is_alive() and time.monotonic() < deadline:
        pass
    assert not manager.is_alive()


def test_a_dead_kernel_is_seen_by_its_manager(manager, client):
    client.execute(f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    deadline = time.monotonic() + REPLY_SECONDS
    while manager.is_alive() and time.monotonic() < deadline:
        pass
    assert not manager.is_alive()


def test_nbclient_runs_a_notebook_with_it():
    cells = [nbformat.v4.new_code_cell(source) for source in ("x = 20 + 1", "2 * x")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name=TEMPLATE, timeout=REPLY_SECONDS).execute()
    assert notebook.cells[1].outputs[0].data["text/plain"] == "42"


def test_the_servers_environment_stays_outside(client):
    assert "PYTEST_CURRENT_TEST" in os.environ
    assert run(client, "import os; print('PYTEST_CURRENT_TEST' in os.environ)")[0] == "False\n"


class TestProtocol(jupyter_kernel_test.KernelTests):
    """Jupyter's own acceptance tests for kernels."""

    test_history = None  # a kernel keeps none: it would mix the inputs of strangers (docs/users)

    kernel_name = TEMPLATE
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    code_page_something = "zip?"
    code_generate_error = "raise"
    code_execute_result = ({"code": "6*7", "result": "42"},)
    code_display_data = (
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
    )
    complete_code_samples = ("1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n")
    incomplete_code_samples = ("print('''hello", "def f(x):\n  x*2")
    invalid_code_samples = ("import = 7q",)
    code_inspect_sample = "open"
    completion_samples = ({"text": "zi", "matches": {"zip"}},)
    code_clear_output = "from IPython.display import clear_output; clear_output()"
