"""Status and exit code from the kernel's reply."""

import pytest

from podflare_nb.sandboxes.outcome import outcome


def error(ename, evalue=""):
    return {"status": "error", "ename": ename, "evalue": evalue}


@pytest.mark.parametrize(
    ("reply", "status", "exit_code"),
    [
        ({"status": "ok"}, "ok", 0),
        (error("ValueError"), "error", 1),
        (error("SystemExit", "3"), "error", 3),
        (error("SystemExit", "0"), "ok", 0),
        (error("SystemExit", ""), "ok", 0),
        (error("SystemExit", "None"), "ok", 0),
        (error("SystemExit", "-1"), "error", -1),
        (error("SystemExit", "bad luck"), "error", 1),
        (error("SystemExit", "9" * 5000), "error", 1),
        (error("KeyboardInterrupt"), "interrupted", 130),
        ({"status": "aborted"}, "error", 1),
        ({}, "error", 1),
        ({"status": 5, "ename": []}, "error", 1),
    ],
)
def test_python_ends_as_its_reply_says(reply, status, exit_code):
    ended = outcome(reply, "python", interrupted=False)
    assert (ended.status, ended.exit_code) == (status, exit_code)


@pytest.mark.parametrize(
    ("evalue", "exit_code"),
    [
        ("Command 'b'exit 7\\n'' returned non-zero exit status 7.", 7),
        ("Command 'b''' died with <Signals.SIGKILL: 9>.", 137),
        ("Command 'b''' died with unknown signal 60.", 188),
        ("Command 'b'returned non-zero exit status 9.'' returned non-zero exit status 2.", 2),
        ("something else", 1),
    ],
)
def test_bash_ends_with_its_own_code(evalue, exit_code):
    assert outcome(error("CalledProcessError", evalue), "bash", interrupted=False).exit_code == exit_code


def test_an_interrupted_shell_is_interrupted_whatever_it_made_of_it():
    assert outcome({"status": "ok"}, "bash", interrupted=True).exit_code == 130


def test_python_that_caught_the_interrupt_ended_well():
    assert outcome({"status": "ok"}, "python", interrupted=True).status == "ok"
