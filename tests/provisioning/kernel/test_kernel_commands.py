"""Shell cells are plain subprocesses."""

import pytest


def test_bash_streams_both_outputs_in_order_of_arrival(client):
    request = client.execute("%%bash\necho one; echo two >&2; read -t 0.1 < <(sleep 1); echo three")
    shown = []
    while (message := client.get_iopub_msg(timeout=60))["content"].get("execution_state") != "idle":
        if message["msg_type"] == "stream":
            shown.append((message["content"]["name"], message["content"]["text"]))
    assert sorted(shown[:2]) == [("stderr", "two\n"), ("stdout", "one\n")]
    assert shown[2:] == [("stdout", "three\n")]
    assert client.reply_to(request)["status"] == "ok"


@pytest.mark.parametrize(("script", "evalue"), [
    ("exit 3", "Command 'bash' returned non-zero exit status 3."),
    ("kill -9 $$", "Command 'bash' died with <Signals.SIGKILL: 9>."),
])  # fmt: skip
def test_a_failed_script_is_a_called_process_error(client, script, evalue):
    reply = client.run(f"%%bash\n{script}").reply
    assert (reply["ename"], reply["evalue"]) == ("CalledProcessError", evalue)
    assert "podflare_nb" not in "".join(reply["traceback"])


def test_bash_reads_nothing_from_its_input(client):
    assert client.run("%%bash\ncat; echo end").text() == "end\n"


def test_a_script_longer_than_an_argument_may_be_runs(client):
    assert client.run("%%bash\n" + "# " + "x" * 300_000 + "\necho long").text() == "long\n"


def test_a_program_left_in_the_background_does_not_hold_the_cell_and_still_shows(client):
    ran = client.run("%%bash\n(read -t 0.3 < <(sleep 5); echo later) &\necho now")
    assert ran.text() == "now\n"
    client.until_text("later")


def test_magic_options_still_work(client):
    assert client.run("%%bash --out text\necho kept").text() == ""
    assert client.value("text") == r"'kept\n'"


def test_a_shell_line_shows_its_output_and_keeps_its_code(client):
    assert client.run("!echo hello; exit 3").text() == "hello\n"
    assert client.value("_exit_code") == "3"
    assert client.run("word = 'expanded'\n!echo {word}").text() == "expanded\n"
    assert client.run("lines = !printf 'a\\nb\\n'\nprint(lines)").text() == "['a', 'b']\n"


def test_captured_cells_capture_commands(client):
    assert client.run("%%capture kept\n!echo inside\nprint('outside')").text() == ""
    assert client.value("kept.stdout") == r"'inside\noutside\n'"


def test_an_interrupt_ends_the_whole_process_group(client, kernel):
    request = client.execute("%%bash\nsleep 1000 & echo $!; sleep 1000")
    child = int(client.until(lambda m: m["msg_type"] == "stream")["content"]["text"])
    kernel.interrupt()
    assert client.reply_to(request)["ename"] == "KeyboardInterrupt"
    client.until_idle(request)
    ended = f"open('/proc/{child}/stat').read().split()[2] == 'Z'"
    wait = f"try:\n    while not {ended}: pass\nexcept OSError: pass"
    assert client.run(wait).reply["status"] == "ok"


@pytest.mark.parametrize("text", ["a\n  \nb\n", "  \n\t\n", "\ta\n \n\tb\n  \n"])
def test_lines_of_blanks_in_a_script_and_in_a_string_stay(client, text):
    assert client.run(f"%%bash\ncat <<'EOF'\n{text}EOF").text() == text
    assert client.run(f"print('''\n{text}''', end='')").text() == f"\n{text}"


def test_a_cell_that_is_indented_as_a_whole_runs(client):
    assert client.run("    if True:\n        print('one')\n  \n    print('two')").text() == "one\ntwo\n"
