import base64
import logging

import pytest
from stand_in_service import CUT, KEY, SANDBOX_ID, StandInService

from podflare_nb.client import AsyncSandbox, ExecResult, Notice, QuotaExceededError, Result, Sandbox
from podflare_nb.integrations.code_tool import (
    DEFAULT_LIMIT,
    Provenance,
    failure_outcome,
    record,
    record_async,
    result_outcome,
    run_tool,
    run_tool_async,
)

BY = Provenance(tool_call_id="call_7", operator="tests", model="acme:large", turn_id="turn_7")


def test_python_keeps_its_state_and_bash_shares_its_files(sandbox):
    assert run_tool(sandbox, {"code": "x = 6; open('six.txt', 'w').write('six')"}).text == "3"
    assert run_tool(sandbox, {"code": "x * 7", "language": "python"}).text == "42"
    outcome = run_tool(sandbox, '{"code": "cat six.txt", "language": "bash"}')
    assert (outcome.text, outcome.images, outcome.is_error) == ("six", (), False)


async def test_the_asynchronous_sandbox_does_the_same(async_sandbox):
    assert (await run_tool_async(async_sandbox, {"code": "y = 20; y + 1"})).text == "21"
    wrong = await run_tool_async(async_sandbox, {"kode": "1"})
    assert wrong.is_error
    assert "'kode'" in wrong.text


def test_code_that_fails_is_told_once_with_its_traceback(sandbox):
    outcome = run_tool(sandbox, {"code": "print('before')\n1 / 0"})
    assert outcome.is_error
    assert outcome.text.startswith("The code failed (exit code 1).\nbefore\n")
    assert outcome.text.count("ZeroDivisionError: division by zero") == 1
    assert "\x1b" not in outcome.text


def test_a_run_that_says_nothing_is_told_as_such(sandbox):
    assert run_tool(sandbox, {"code": "None"}).text == "(no output)"


def test_long_output_is_cut_in_the_middle(sandbox):
    text = run_tool(sandbox, {"code": "print('head'); print('x' * 1_000_000); print('tail')"}).text
    assert text.count("\n") < 10
    assert "head" in text
    assert text.endswith("tail")
    assert "cut here" in text
    assert len(text) < DEFAULT_LIMIT + 1_000


def test_code_is_stopped_at_its_time_limit(sandbox):
    outcome = run_tool(sandbox, {"code": "while True: pass"}, timeout_seconds=0.2)
    assert outcome.is_error
    assert "time limit" in outcome.text


def test_plots_are_pictures(sandbox):
    outcome = run_tool(sandbox, {"code": "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"})
    [image] = outcome.images
    assert image.media_type == "image/png"
    assert image.data.startswith(b"\x89PNG")


def test_notices_of_the_service_come_first():
    outcome = result_outcome(ExecResult("a", "", 0, notices=(Notice("output_truncated", "9 bytes are gone."),)))
    assert outcome.text == "9 bytes are gone.\na"


def test_an_ending_that_this_client_does_not_know_is_an_error():
    outcome = result_outcome(ExecResult("", "", 3, status="frozen"))
    assert outcome.text == "The code failed (exit code 3)."
    assert outcome.is_error


def test_stdout_results_and_stderr_are_told_in_this_order():
    shown = Result({"text/plain": "shown", "image/png": base64.b64encode(b"png").decode()})
    outcome = result_outcome(ExecResult("out", "err", 0, [shown]))
    assert outcome.text == "out\nshown\nerr"
    assert [image.data for image in outcome.images] == [b"png"]


def test_the_cell_tells_who_asked(sandbox):
    run_tool(sandbox, {"code": "'provenance'"}, BY)
    cells = sandbox.notebook()["cells"]
    [told] = [cell["metadata"]["podflare_nb"] for cell in cells if "'provenance'" in "".join(cell["source"])]
    assert (told["tool_call_id"], told["operator"], told["turn_id"]) == ("call_7", "tests", "turn_7")
    assert told["model"] == {"provider": "acme", "id": "large"}


def test_a_sandbox_that_has_ended_is_an_error_with_its_reason(service):
    with Sandbox(host=service.url, api_key=service.key) as closed, Sandbox.connect(
        closed.id, host=service.url, api_key=service.key
    ) as other:  # fmt: skip
        other.close()
        for handle in (closed, other):
            outcome = run_tool(handle, {"code": "1"})
            assert outcome.is_error
            assert "closed" in outcome.text
            assert "tell the person" in outcome.text


def test_a_service_that_is_away_is_an_error():
    with StandInService() as service:
        sandbox = Sandbox.connect(SANDBOX_ID, host=service.url, api_key=KEY)
    outcome = run_tool(sandbox, {"code": "1"})
    assert outcome.is_error
    assert "Nothing answers at" in outcome.text


def test_a_quota_says_when_to_try_again():
    outcome = failure_outcome(QuotaExceededError("Too many runs.", details={"retry_after": 3}))
    assert outcome.text == "Too many runs.\nTry again in 3 seconds."


def test_a_stream_that_breaks_tells_what_had_come(stand_in):
    stand_in.exec_events = [{"type": "stdout", "data": "half of it"}, CUT]
    with Sandbox(host=stand_in.url, api_key=KEY) as sandbox:
        outcome = run_tool(sandbox, {"code": "1"})
    assert outcome.is_error
    assert "not known" in outcome.text
    assert outcome.text.endswith("half of it")


def test_what_was_said_is_a_markdown_cell(sandbox):
    record(sandbox, "I **say** this.", "assistant", BY)
    record(sandbox, "  ", "assistant", BY)
    [cell] = [cell for cell in sandbox.notebook()["cells"] if cell["cell_type"] == "markdown"]
    assert "".join(cell["source"]) == "I **say** this."
    told = cell["metadata"]["podflare_nb"]
    assert (told["role"], told["operator"], told["turn_id"]) == ("assistant", "tests", "turn_7")


def test_a_message_with_what_is_no_character_is_recorded_without_it(sandbox):
    record(sandbox, "half \ud83d of a pair \0 and \N{PARTY POPPER}", "assistant", BY)
    cell = sandbox.notebook()["cells"][-1]
    assert "".join(cell["source"]) == "half \ufffd of a pair \ufffd and \N{PARTY POPPER}"


def test_a_message_of_any_length_is_recorded_with_its_ends(sandbox):
    record(sandbox, "begin" + "\N{SNOWMAN}" * 1_000_000 + "end", "user", BY)
    cell = sandbox.notebook()["cells"][-1]
    text = "".join(cell["source"])
    assert text.startswith("begin")
    assert text.endswith("end")
    assert "cut here" in text


async def test_a_recording_that_is_refused_is_logged_and_stops_nothing(service, caplog):
    async with AsyncSandbox(host=service.url, api_key=service.key) as sandbox:
        await sandbox.close()
        with caplog.at_level(logging.WARNING):
            await record_async(sandbox, "Into the void.", "assistant", BY)
    [message] = caplog.messages
    assert "not recorded" in message


@pytest.mark.parametrize("code", ["x = '\x00'", "x = '\ud800'"])
def test_code_with_characters_that_no_file_has_is_an_answer(sandbox, code):
    assert run_tool(sandbox, {"code": code}).text
