"""SIGINT breaks the user's code and nothing else."""

import re
import signal

import pytest

CELLS = {
    "python": "print('begun')\nwhile True: pass",
    "sleeping": "import time\nprint('begun')\ntime.sleep(1000)",
    "printing": "print('begun')\nwhile True: print('x')",
    "awaiting": "import asyncio\nprint('begun')\nawait asyncio.sleep(1000)",
    "busy coroutine": "import asyncio\nawait asyncio.sleep(0)\nprint('begun')\nwhile True: pass",
    "reading": "print('begun')\ninput()",
}


@pytest.mark.parametrize("code", CELLS.values(), ids=CELLS)
def test_an_interrupt_breaks_a_cell(client, kernel, code):
    request = client.execute(code, allow_stdin=True)
    client.until_text("begun")
    kernel.interrupt()
    reply = client.reply_to(request)
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    assert "podflare_nb" not in "\n".join(reply["traceback"])
    client.until_idle(request)
    assert client.value("1+1") == "2"


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("try:\n    print('begun')\n    while True: pass\nexcept KeyboardInterrupt:\n    1/0", "while True: pass"),
        ("!echo begun; sleep 1000", "sleep 1000"),
        ("def mine():\n    while True: print('begun')\nmine()", "mine()"),
    ],
    ids=["chained", "command", "printing"],
)
def test_a_traceback_has_the_users_frames_only(client, kernel, code, shown):
    request = client.execute(code)
    client.until_text("begun")
    kernel.interrupt()
    text = re.sub("\x1b\\[[0-9;]*m", "", "\n".join(client.reply_to(request)["traceback"]))
    assert "KeyboardInterrupt" in text
    assert shown in text
    assert "podflare_nb" not in text


def test_an_interrupt_by_message_breaks_a_cell_and_its_children(client):
    request = client.execute("import os\nprint('begun')\nos.system('sleep 1000')\nprint('ended')")
    client.until_text("begun")
    interrupt = client.request("interrupt_request", {}, "control")
    assert client.reply_to(interrupt, "control")["status"] == "ok"
    client.until_text("ended")
    assert client.reply_to(request)["status"] == "ok"


def test_interrupts_between_cells_do_nothing(client, kernel):
    for _ in range(20):
        kernel.interrupt()
        assert client.value("1+1") == "2"


def test_an_interrupt_of_a_cell_that_was_announced_and_does_not_run_yet_breaks_it(client):
    client.run(
        "import os, signal\nannounce = get_ipython().kernel.interrupts.announce\n"
        "def then_interrupt():\n    announce()\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "get_ipython().kernel.interrupts.announce = then_interrupt"
    )
    broken = client.run("ran = 1")
    (told,) = broken.of("execute_input")
    assert (broken.reply["ename"], broken.reply["execution_count"]) == (
        "KeyboardInterrupt",
        told["content"]["execution_count"],
    )
    assert "podflare_nb" not in "\n".join(broken.reply["traceback"])
    client.run("get_ipython().kernel.interrupts.announce = announce", silent=True)  # a cell that nobody is told of
    assert client.value("'ran' in globals()") == "False"


def test_a_background_task_that_never_yields_is_broken_by_an_interrupt(client, kernel):
    client.run(
        "import asyncio, sys\nasync def spin():\n    print('spinning', flush=True)\n    while True: pass\n"
        "task = asyncio.create_task(spin())"
    )
    client.until_text("spinning")
    kernel.interrupt()
    assert client.value("type(task.exception()).__name__") == "'KeyboardInterrupt'"


def test_a_cell_may_handle_sigint_itself_and_the_next_is_interruptible(client, kernel):
    request = client.execute(
        "import signal, time\ncaught = []\nsignal.signal(signal.SIGINT, lambda *a: caught.append(1))\nprint('begun')\n"
        "while not caught: time.sleep(0.01)"
    )
    client.until_text("begun")
    kernel.interrupt()
    assert client.reply_to(request)["status"] == "ok"
    request = client.execute("print('again')\nwhile True: pass")
    client.until_text("again")
    kernel.interrupt()
    assert client.reply_to(request)["ename"] == "KeyboardInterrupt"


def test_a_timer_that_raises_at_any_byte_code_of_printing_tears_no_message(client):
    ran = client.run(
        "import signal\nclass Late(BaseException): pass\ndef late(*args): raise Late\n"
        "signal.signal(signal.SIGALRM, late)\n"
        "for count in range(300):\n"
        "    try:\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0.0005 + count % 7 * 0.00001)\n"
        "        for _ in range(50): print('y' * 50); display(1)\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "    except Late: pass\n"
        "print('end')"
    )
    assert ran.reply["status"] == "ok", ran.reply
    assert ran.text().endswith("end\n")
    assert client.value("1+1") == "2"


def test_an_alarm_that_goes_off_between_cells_does_not_end_the_kernel(client):
    client.run(
        "import signal\ndef late(*args): raise TimeoutError('too late')\nsignal.signal(signal.SIGALRM, late)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05)"
    )
    client.until_text("TimeoutError: too late")
    assert client.value("1+1") == "2"


def test_os_exit_and_faults_do_end_the_kernel(template):
    for code in ("import os; os._exit(7)", f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"):
        kernel = template.spawn()
        try:
            kernel.client().execute(code)
            assert kernel.ended()
        finally:
            kernel.close()
