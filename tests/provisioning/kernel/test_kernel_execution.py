"""Cells run as in any Jupyter kernel, and nothing that they raise ends the kernel."""

import pytest


def test_a_print_comes_between_busy_and_idle(client):
    ran = client.run("print(6*7)")
    assert [m["msg_type"] for m in ran.messages] == ["status", "execute_input", "stream", "status"]
    assert ran.text() == "42\n"
    assert ran.reply["status"] == "ok"


def test_the_first_cell_is_number_one_in_an_empty_namespace(client):
    ran = client.run("[name for name in globals() if not name.startswith('_')]")
    assert ran.reply["execution_count"] == 1
    assert ran.result == "['In', 'Out', 'get_ipython', 'exit', 'quit', 'open']"
    assert client.value("len(In), len(Out), _i, _2 if '_2' in globals() else None") == (
        "(3, 1, \"[name for name in globals() if not name.startswith('_')]\", None)"
    )


def test_an_exception_fails_its_cell_with_its_traceback(client):
    ran = client.run("1/0")
    assert ran.reply["ename"] == "ZeroDivisionError"
    assert "division by zero" in ran.of("error")[0]["content"]["traceback"][-1]
    assert client.value("1+1") == "2"


@pytest.mark.parametrize(
    ("code", "evalue"),
    [
        ("import sys; sys.exit(3)", "3"),
        ("import sys; sys.exit(0)", "0"),
        ("import sys; sys.exit()", ""),
        ("exit(4)", "4"),
        ("quit(5)", "5"),
        ("exit", ""),
        ("raise SystemExit('done')", "done"),
        ("import asyncio\nawait asyncio.sleep(0)\nraise SystemExit(6)", "6"),
    ],
)
def test_an_exit_fails_its_cell_with_its_code_and_the_kernel_lives(client, code, evalue):
    ran = client.run(code)
    assert (ran.reply["ename"], ran.reply["evalue"]) == ("SystemExit", evalue)
    assert ran.text("stderr") == ""
    assert client.value("1+1") == "2"


@pytest.mark.parametrize("name", ["BaseException", "GeneratorExit", "KeyboardInterrupt", "asyncio.CancelledError"])
def test_no_exception_ends_the_kernel(client, name):
    assert client.run(f"import asyncio; raise {name}").reply["ename"] == name.rpartition(".")[2]
    assert client.value("1+1") == "2"


def test_a_syntax_error_fails_its_cell(client):
    assert client.run("def f(:").reply["ename"] == "SyntaxError"


def test_cells_await_and_their_tasks_go_on_between_cells(client):
    client.run(
        "import asyncio\nticks = asyncio.Queue()\n"
        "async def tick():\n    for i in range(3):\n        await asyncio.sleep(0)\n        ticks.put_nowait(i)\n"
        "task = asyncio.create_task(tick())"
    )
    assert client.value("[await ticks.get() for _ in range(3)]") == "[0, 1, 2]"


def test_a_background_task_that_exits_does_not_end_the_kernel(client):
    client.run("import asyncio\nasync def leave(): raise SystemExit(1)\ntask = asyncio.create_task(leave())")
    assert client.value("1+1") == "2"


def test_requests_queued_behind_an_error_are_aborted_and_later_ones_run(client):
    arrived = "shell.pending or shell.socket.get(zmq.EVENTS) & zmq.POLLIN"
    client.run("import time, zmq; shell = get_ipython().kernel.shell_stream")
    first = client.execute(f"while not ({arrived}): time.sleep(0.01)\n1/0")
    second = client.execute("ran = True")
    assert client.reply_to(first)["status"] == "error"
    assert client.reply_to(second)["status"] == "aborted"
    assert client.value("'ran' in globals()") == "False"


def test_output_of_a_multiprocessing_child_is_shown(client):
    ran = client.run(
        "import multiprocessing\n"
        "child = multiprocessing.get_context('fork').Process(target=print, args=('from the child',))\n"
        "child.start()\nchild.join()"
    )
    assert ran.text() == "from the child\n"


def test_a_fork_that_returns_from_its_cell_is_no_second_kernel(client):
    ran = client.run("import os\npid = os.fork()\nif pid: print(os.waitpid(pid, 0)[1])")
    assert ran.text() == "0\n"
    assert client.value("1+1") == "2"


def test_the_environment_is_the_one_handed_over(template, tmp_path):
    kernel = template.spawn(env={"TOKEN": "of this kernel"}, cwd=str(tmp_path))
    try:
        client = kernel.client()
        client.run("import os")
        assert client.value("os.environ['TOKEN']") == "'of this kernel'"
        assert client.value("os.environ['HOME']") == repr(str(kernel.home))
        assert client.value("os.getcwd()") == repr(str(tmp_path))
        (tmp_path / "mine.py").write_text("answer = 42")
        assert client.value("import mine; mine.answer") == "42"
        assert client.value("'PYTEST_CURRENT_TEST' in os.environ") == "False"
    finally:
        kernel.close()


def test_user_expressions_and_silent_cells_work(client):
    assert client.run("a = 5", user_expressions={"a": "a + 1"}).reply["user_expressions"]["a"]["data"] == {
        "text/plain": "6"
    }
    assert client.run("a", silent=True).of("execute_result") == []
