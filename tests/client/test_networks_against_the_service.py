"""Networks by the client, against the real service. Nothing here is allowed to leave the machine, or tries to."""

import pytest

from podflare_nb.client import InvalidArgumentError, Sandbox

RULES = {"allow": ["files.example.org", "*.example.com:443"]}
ASK = """
import os, urllib.error, urllib.request
try:
    urllib.request.urlopen("http://{host}/")
except urllib.error.URLError as error:
    print(error)
"""
WAIT = "os.mkfifo('/tmp/never'); open('/tmp/never').read()"
SECONDS = 60


@pytest.fixture
def sandbox(service):
    with Sandbox("python-minimal", host=service.url, api_key=service.key, egress=RULES) as sandbox:
        yield sandbox


def refusal(sandbox, host):
    """The first network event of code that asks for the host, and then waits to be interrupted."""
    stream = sandbox.run_code_stream(ASK.format(host=host) + WAIT, timeout_seconds=SECONDS)
    found = next((event.data for event in stream if event.type == "network"), None)
    stream.close()
    return found


def test_a_sandbox_has_the_policy_that_it_was_made_with_and_so_have_its_branches(sandbox):
    (branch,) = sandbox.fork(1)
    assert [sandbox.egress, sandbox.info().egress, branch.egress] == [RULES] * 3
    assert branch.set_egress(False).egress is False
    assert sandbox.egress is False
    branch.close()


def test_a_name_that_no_rule_has_is_refused_at_once_with_the_policy_in_the_error(sandbox):
    result = sandbox.run_code(ASK.format(host="elsewhere.example.net"))
    assert "403" in result.stdout
    assert "files.example.org" in result.stdout


def test_a_refused_connection_is_an_event_and_stays_known(sandbox):
    told = refusal(sandbox, "elsewhere.example.net")
    assert (told["verdict"], told["host"], told["port"]) == ("refused", "elsewhere.example.net", 80)
    assert "elsewhere.example.net" in told["reason"]
    network = sandbox.network()
    assert network.refused >= 1
    assert told["reason"] in [one.reason for one in network.connections]


def test_a_change_holds_for_the_next_connection_of_what_already_runs(sandbox):
    assert "files.example.org" in sandbox.run_code(ASK.format(host="169.254.169.254")).stdout
    sandbox.set_egress({"allow": []})
    text = sandbox.run_code(ASK.format(host="files.example.org")).stdout
    assert "403" in text
    assert "files.example.org" not in sandbox.network().egress["allow"]


def test_a_rule_that_is_none_is_refused_with_its_words(service, sandbox):
    with pytest.raises(InvalidArgumentError, match="two words"):
        sandbox.set_egress({"allow": ["two words"]})
    with pytest.raises(InvalidArgumentError, match=r"10\.0\.0\.0/8"):
        Sandbox(host=service.url, api_key=service.key, egress={"allow": ["10.0.0.0/8"]})
    assert sandbox.egress == RULES
