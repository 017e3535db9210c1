"""Output is captured whatever makes it, in order, coalesced and bounded."""

import zmq
from jupyter_client.session import Session


def test_output_of_c_code_comes_before_idle(client):
    ran = client.run("import ctypes; libc = ctypes.CDLL(None)\nlibc.printf(b'from c without a newline')")
    assert ran.text() == "from c without a newline"


def test_python_and_child_output_keep_their_order(client):
    ran = client.run("import os\nfor i in range(5):\n    print('python', i)\n    os.system(f'echo child {i}')")
    assert ran.text() == "".join(f"python {i}\nchild {i}\n" for i in range(5))


def test_streams_keep_their_order(client):
    ran = client.run("import sys\nfor i in range(4): print(i, file=[sys.stdout, sys.stderr][i % 2])")
    assert [(m["content"]["name"], m["content"]["text"]) for m in ran.of("stream")] == [
        ("stdout", "0\n"), ("stderr", "1\n"), ("stdout", "2\n"), ("stderr", "3\n"),
    ]  # fmt: skip


def test_text_keeps_its_place_among_displays(client):
    ran = client.run("print(1); display(2); print(3); display(4)")
    assert [m["msg_type"] for m in ran.messages[2:-1]] == ["stream", "display_data", "stream", "display_data"]


def test_a_print_in_a_thread_shows_while_the_cell_runs(client):
    request = client.execute(
        "import threading, time\nthreading.Thread(target=print, args=('from the thread',)).start()\n"
        "while True: time.sleep(0.01)"
    )
    client.until_text("from the thread")
    client.control_channel.send(client.session.msg("interrupt_request", {}))
    assert client.reply_to(request)["ename"] == "KeyboardInterrupt"


def test_many_small_lines_coalesce(client):
    ran = client.run("for i in range(100_000): print(i)")
    assert ran.text() == "".join(f"{i}\n" for i in range(100_000))
    assert len(ran.of("stream")) < 1000


def test_flushing_every_line_coalesces_too(client):
    ran = client.run("for i in range(20_000): print(i, flush=True)")
    assert len(ran.of("stream")) < 2000


def test_a_stream_message_holds_at_most_64_kib(client):
    ran = client.run("print('é' * 500_000)")
    assert ran.text() == "é" * 500_000 + "\n"
    assert max(len(m["content"]["text"].encode()) for m in ran.of("stream")) <= 65536


def test_threads_print_whole_pieces_at_once(client):
    ran = client.run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool: list(pool.map(lambda i: print(f'line {i}\\n', end=''), range(5000)))"
    )
    assert sorted(ran.text().split("\n")[:-1]) == sorted(f"line {i}" for i in range(5000))


def test_text_that_utf8_cannot_hold_is_escaped(client):
    assert client.run(r"print('\ud800')").text() == "\\ud800\n"


def test_bytes_written_to_the_buffer_show(client):
    assert client.run("import sys; sys.stdout.buffer.write(b'raw\\n'); None").text() == "raw\n"


def test_a_display_over_32_mib_is_refused_with_a_sentence(client):
    ran = client.run("display({'text/plain': 'x' * (33 << 20)}, raw=True)")
    assert ran.of("display_data") == []
    assert "33.0 MiB was not sent: the limit is 32 MiB" in ran.text("stderr")


def test_a_subscriber_that_reads_late_loses_nothing(kernel, client):
    context = zmq.Context()
    try:
        late = context.socket(zmq.SUB)
        late.rcvhwm = 10
        late.subscribe(b"")
        late.connect(f"ipc://{kernel.connection['ip']}-2")
        session = Session(key=kernel.connection["key"].encode())
        assert late.poll(60_000)
        while session.recv(late)[1]["msg_type"] != "iopub_welcome":
            assert late.poll(60_000)
        request = client.execute("for i in range(400): print(str(i % 10) * 65_000)")
        text = 0
        while True:
            assert late.poll(60_000)
            message = session.recv(late)[1]
            text += len(message["content"].get("text", ""))
            if message["content"].get("execution_state") == "idle" and message["parent_header"]["msg_id"] == request:
                break
        assert text == 400 * 65_001
    finally:
        context.destroy(linger=0)


def test_a_welcome_greets_each_subscriber(kernel):
    context = zmq.Context()
    try:
        session = Session(key=kernel.connection["key"].encode())
        subscribers = [context.socket(zmq.SUB) for _ in range(2)]
        for subscriber in subscribers:
            subscriber.subscribe(b"")
            subscriber.connect(f"ipc://{kernel.connection['ip']}-2")
            heard = ""
            while heard != "iopub_welcome":  # behind what was just being said, at most
                assert subscriber.poll(60_000), heard
                heard = session.recv(subscriber)[1]["msg_type"]
    finally:
        context.destroy(linger=0)


def test_output_of_children_keeps_its_place_among_displays_and_errors(client):
    ran = client.run(
        "import os\nfor i in range(300):\n    os.write(1, b'%d\\n' % i)\n    display(i)\nos.write(1, b'last')\n1/0"
    )
    kinds = [m["msg_type"] for m in ran.messages[2:-1]]
    assert kinds == ["stream", "display_data"] * 300 + ["stream", "error"]
    assert ran.text() == "".join(f"{i}\n" for i in range(300)) + "last"
