"""What the client says and reads of networks, against a stand-in."""

import json

from stand_in_service import KEY, SANDBOX_ID

from podflare_nb.client import AsyncSandbox, NetworkConnection, Notice, Sandbox

RULES = {"allow": ["files.example.org", "*.example.com:443"]}
WHY = "169.254.169.254 is no public address."
REFUSED = {"verdict": "refused", "protocol": "http", "host": "169.254.169.254", "port": 80, "reason": WHY}


def test_a_sandbox_is_made_with_the_policy_that_was_asked_for(stand_in):
    for egress in (True, False, RULES):
        Sandbox(host=stand_in.url, api_key=KEY, egress=egress).close()
    asked = [json.loads(body)["egress"] for body in stand_in.bodies("POST", "/sandboxes")]
    assert asked == [True, False, RULES]


def test_another_policy_is_set_and_the_answer_told(stand_in, sandbox):
    assert sandbox.set_egress(RULES).egress == RULES
    assert json.loads(stand_in.bodies("PATCH", SANDBOX_ID)[0]) == {"egress": RULES}
    assert sandbox.egress == RULES
    stand_in.egress = True
    assert sandbox.egress is True, "asked anew each time"


async def test_the_asynchronous_client_does_the_same(stand_in):
    async with AsyncSandbox(host=stand_in.url, api_key=KEY) as sandbox:
        assert (await sandbox.set_egress(False)).egress is False
        assert await sandbox.egress is False
        assert (await sandbox.network()).refused == 1


def test_the_network_tells_bytes_and_connections(stand_in, sandbox):
    stand_in.egress = RULES
    network = sandbox.network()
    assert (network.egress, network.sent_bytes, network.allowed, network.refused) == (RULES, 10, 0, 1)
    assert [str(one) for one in network.connections] == [WHY]


def test_a_refused_connection_is_told_beside_what_the_code_printed_and_not_in_it(stand_in, sandbox):
    stand_in.exec_events = [
        {"type": "stderr", "data": "HTTPError: 403"},
        {"type": "network", "data": REFUSED},
        {"type": "network", "data": {**REFUSED, "host": "a.example", "port": None, "reason": None}},
        {"type": "exit", "data": 1, "status": "error"},
    ]
    result = sandbox.run_code("...")
    assert (result.stdout, result.stderr) == ("", "HTTPError: 403")
    assert result.refused[0] == NetworkConnection.from_json(REFUSED)
    assert result.notices == (
        Notice("network_refused", WHY),
        Notice("network_refused", "a.example (http) was refused."),
    )
    assert "refused='169.254.169.254, a.example'" in repr(result)
    assert WHY in result._repr_html_()
