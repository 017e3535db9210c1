"""Everything else that a Jupyter client asks of a kernel."""

import queue

import zmq
from jupyter_client.session import Session


def test_completion_and_inspection_know_the_users_names(client):
    client.run("some_long_name = [1]")
    reply = client.reply_to(client.complete("some_lo", 7))
    assert reply["matches"] == ["some_long_name"]
    reply = client.reply_to(client.inspect("some_long_name", 5))
    assert reply["found"]
    assert "list" in reply["data"]["text/plain"]


def test_history_begins_with_the_users_first_cell(client):
    client.run("first = 1")
    client.run("second = 2")
    tail = client.reply_to(client.history(hist_access_type="tail", n=10, raw=True, output=False))["history"]
    assert [source for _, _, source in tail] == ["first = 1", "second = 2"]
    found = client.reply_to(client.history(hist_access_type="search", pattern="sec*", raw=True, output=False))[
        "history"
    ]
    assert [source for _, _, source in found] == ["second = 2"]


def test_completeness_is_judged(client):
    assert client.reply_to(client.is_complete("for i in range(3):"))["status"] == "incomplete"
    assert client.reply_to(client.is_complete("1+1"))["status"] == "complete"


def test_kernel_info_tells_the_language(client):
    info = client.reply_to(client.kernel_info())
    assert info["language_info"]["name"] == "python"
    assert "kernel subshells" not in info["supported_features"]


def test_input_asks_the_client(client):
    request = client.execute("name = input('Who? ')", allow_stdin=True)
    asked = client.get_stdin_msg(timeout=60)
    assert asked["content"] == {"prompt": "Who? ", "password": False}
    client.input("Ada")
    assert client.reply_to(request)["status"] == "ok"
    assert client.value("name") == "'Ada'"


def test_input_without_a_client_that_answers_is_an_error(client):
    assert client.run("input()").reply["ename"] == "StdinNotImplementedError"


def test_comms_open_message_and_close_both_ways(client):
    client.run(
        "def opened(comm, message):\n    comm.on_msg(lambda m: comm.send({'got': m['content']['data']}))\n"
        "get_ipython().kernel.comm_manager.register_target('echo', opened)"
    )
    client.request("comm_open", {"comm_id": "c1", "target_name": "echo", "data": {}})
    client.request("comm_msg", {"comm_id": "c1", "data": 5})
    answer = client.until(lambda m: m["msg_type"] == "comm_msg")
    assert answer["content"]["data"] == {"got": 5}
    assert client.reply_to(client.comm_info())["comms"] == {"c1": {"target_name": "echo"}}
    client.request("comm_close", {"comm_id": "c1", "data": {}})
    assert client.reply_to(client.comm_info())["comms"] == {}


def test_a_cell_that_awaits_gets_comm_messages(client):
    client.run(
        "import asyncio\nanswer = asyncio.get_running_loop().create_future() if False else None\n"
        "def opened(comm, message): comm.on_msg(lambda m: answer.set_result(m['content']['data']))\n"
        "get_ipython().kernel.comm_manager.register_target('answers', opened)"
    )
    client.request("comm_open", {"comm_id": "c2", "target_name": "answers", "data": {}})
    request = client.execute(
        "answer = asyncio.get_running_loop().create_future()\nprint('waiting')\nprint(await answer)"
    )
    client.until_text("waiting")
    client.request("comm_msg", {"comm_id": "c2", "data": "answered"})
    client.until_text("answered")
    assert client.reply_to(request)["status"] == "ok"


def test_a_widget_is_displayed_and_heard(client):
    ran = client.run("import ipywidgets\nslider = ipywidgets.IntSlider(3)\nslider")
    model = ran.of("execute_result")[0]["content"]["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
    update = {"method": "update", "state": {"value": 7}, "buffer_paths": []}
    client.request("comm_msg", {"comm_id": model, "data": update})
    assert client.value("slider.value") == "7"


def test_usage_is_answered_during_a_cell(client, kernel):
    request = client.execute("print('begun')\nwhile True: pass")
    client.until_text("begun")
    usage = client.reply_to(client.request("usage_request", {}, "control"), "control")
    assert usage["pid"] == kernel.pid
    kernel.interrupt()
    client.reply_to(request)


def test_the_heart_beats_during_a_cell(client, kernel):
    request = client.execute("print('begun')\nwhile True: pass")
    client.until_text("begun")
    context = zmq.Context()
    try:
        heart = context.socket(zmq.REQ)
        heart.connect(f"ipc://{kernel.connection['ip']}-5")
        for beat in (b"one", b"two"):
            heart.send(beat)
            assert heart.poll(60_000)
            assert heart.recv() == beat
    finally:
        context.destroy(linger=0)
    kernel.interrupt()
    client.reply_to(request)


def test_a_shutdown_request_is_answered_and_runs_exit_functions(client, kernel, tmp_path):
    client.run(f"import atexit, pathlib; atexit.register(pathlib.Path({str(tmp_path / 'ended')!r}).touch)")
    reply = client.reply_to(client.request("shutdown_request", {"restart": False}, "control"), "control")
    assert reply == {"status": "ok", "restart": False}
    assert kernel.ended()
    assert (tmp_path / "ended").exists()


def test_a_kernel_ends_with_its_supervisor_even_in_a_cell(client, kernel):
    client.execute("print('begun')\nwhile True: pass")
    client.until_text("begun")
    kernel.ctl.socket.close()
    assert kernel.ended()


def test_a_message_signed_with_another_key_is_not_obeyed(client, kernel):
    context = zmq.Context()
    try:
        shell = context.socket(zmq.DEALER)
        shell.connect(f"ipc://{kernel.connection['ip']}-1")
        forged = Session(key=b"another").send(shell, "execute_request", {"code": "forged = True", "silent": False})
        assert forged is not None
        assert client.value("'forged' in globals()") == "False"
    finally:
        context.destroy(linger=0)


def test_the_debugger_stops_at_a_breakpoint(client):
    assert "debugger" in client.reply_to(client.kernel_info())["supported_features"]

    def debug(sequence, command, **arguments):
        body = {"type": "request", "seq": sequence, "command": command, "arguments": arguments}
        reply = client.reply_to(client.request("debug_request", body, "control"), "control")
        assert reply["success"], reply
        return reply.get("body", {})

    code = "def f(x):\n    y = x + 1\n    return y\nf(1)"
    debug(1, "initialize", clientID="test", adapterID="", pathFormat="path", linesStartAt1=True, columnsStartAt1=True)
    debug(2, "attach")
    path = debug(3, "dumpCell", code=code)["sourcePath"]
    debug(4, "setBreakpoints", source={"path": path}, breakpoints=[{"line": 2}], lines=[2])
    debug(5, "configurationDone")
    request = client.execute(code)
    stopped = client.until(lambda m: m["msg_type"] == "debug_event" and m["content"]["event"] == "stopped")
    thread = stopped["content"]["body"]["threadId"]
    assert debug(6, "stackTrace", threadId=thread)["stackFrames"][0]["line"] == 2
    debug(7, "continue", threadId=thread)
    assert client.reply_to(request)["status"] == "ok"
    debug(8, "disconnect", restart=False, terminateDebuggee=False)


def test_no_message_is_left_over(client):
    client.run("1")
    for channel in (client.shell_channel, client.control_channel):
        try:
            channel.get_msg(timeout=0)
        except queue.Empty:
            continue
        raise AssertionError(channel)


def test_a_shutdown_raises_nothing_which_the_last_cell_would_show(client, kernel, tmp_path):
    told = tmp_path / "told"
    client.run(
        "import atexit, threading\nkernel = get_ipython().kernel\nover, told = threading.Event(), []\n"
        "kernel.log.error = lambda *_, **__: told.append(_)\nof_ipykernel = kernel.process_control\n"
        "async def process(message):\n    await of_ipykernel(message)\n    over.set()\n"
        "kernel.process_control = process\n"
        f"@atexit.register\ndef tell():\n    over.wait(30)\n    open({str(told)!r}, 'w').write(repr(told))"
    )
    client.reply_to(client.request("shutdown_request", {"restart": True}, "control"), "control")
    assert kernel.ended()
    assert told.read_text() == "[]"
