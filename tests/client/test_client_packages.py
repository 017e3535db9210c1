"""Installing packages by the client, synchronously and not."""

import json

import pytest
from stand_in_service import CUT

from podflare_nb.client import CodeError, InstallResult, ManagerResult, StreamBrokenError

WELL = [
    {"type": "manager", "data": {"manager": "python", "status": "running"}},
    {"type": "stdout", "data": "Collecting six"},
    {"type": "manager", "data": {"manager": "python", "status": "ok", "exit_code": 0}},
    {
        "type": "exit",
        "data": 0,
        "status": "ok",
        "managers": {"python": {"status": "ok", "exit_code": 0, "cell_id": "c1"}},
    },
]
BADLY = [
    {"type": "stderr", "data": "E: Unable to locate package jqq"},
    {
        "type": "exit", "data": 100, "status": "error",
        "managers": {"apt": {"status": "error", "exit_code": 100}, "python": {"status": "skipped"}},
    },
]  # fmt: skip


def test_what_is_to_be_installed_is_sent_and_how_it_ended_is_given(stand_in, sandbox):
    stand_in.exec_events = WELL
    lines = []
    done = sandbox.install_packages("six", "polars>=1", apt=["jq"], timeout_seconds=60, on_stdout=lines.append)
    asked = json.loads(stand_in.bodies("POST", "/packages")[0])
    assert asked == {"python": ["six", "polars>=1"], "apt": ["jq"], "npm": [], "timeout_seconds": 60}
    assert (done.ok, done.stdout, lines) == (True, "Collecting six", ["Collecting six"])
    assert done.managers == {"python": ManagerResult("ok", 0, "c1")}
    assert done.raise_for_error() is done


async def test_the_asynchronous_client_does_the_same(stand_in, async_sandbox):
    stand_in.exec_events = WELL
    done = await async_sandbox.install_packages("six")
    assert isinstance(done, InstallResult)
    assert done.ok


def test_what_could_not_be_installed_is_a_result_that_can_be_raised(stand_in, sandbox):
    stand_in.exec_events = BADLY
    done = sandbox.install_packages("six", apt=["jqq"])
    assert (done.ok, done.managers["python"].status, done.managers["apt"].exit_code) == (False, "skipped", 100)
    with pytest.raises(CodeError, match=r"^apt could not install everything: E: Unable to locate package jqq"):
        done.raise_for_error()


def test_a_stream_without_its_end_is_an_error(stand_in, sandbox):
    stand_in.exec_events = [WELL[1], CUT]
    with pytest.raises(StreamBrokenError):
        sandbox.install_packages("six")
