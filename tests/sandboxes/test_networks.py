"""What a sandbox may reach, and what is told of its connections: to whoever runs code, to its log, to the audit."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from podflare_nb.errors import InvalidArgumentError, NoCapacityError
from podflare_nb.protocol.egress import INTERNET, OFF, Egress
from podflare_nb.provisioning.handle import FamilyNetwork
from podflare_nb.sandboxes.execution import ExecutionRequest
from podflare_nb.sandboxes.network_audit import NetworkAudit
from podflare_nb.sandboxes.network_log import MOST_KEPT, NetworkLog
from podflare_nb.sandboxes.settings import NetworkSettings

from .conftest import SECONDS, TENANT, run, settings

RULES = Egress.from_json({"allow": ["files.example.org"]})
WHY = "elsewhere.example.net:443 is not allowed"
REFUSED = {
    "verdict": "refused", "protocol": "https", "host": "elsewhere.example.net", "port": 443, "sent": 0, "received": 0,
    "reason": WHY,
}  # fmt: skip
ALLOWED = {**REFUSED, "verdict": "allowed", "host": "files.example.org", "sent": 7, "received": 9, "reason": ""}
BEGIN_AND_WAIT = "print('begun', flush=True); import os; os.path.exists('go') or os.mkfifo('go'); open('go').read()"
TOLD = ("verdict", "protocol", "host", "port", "reason")
"""Of a connection, to whoever runs code."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_a_sandbox_has_the_network_that_it_was_made_with_until_it_is_changed(house):
    sandbox = await house.sandbox(egress=RULES)
    assert sandbox.egress == RULES
    changed = await house.manager.update(TENANT, sandbox.id, egress=INTERNET)
    assert changed.egress == sandbox.egress == INTERNET


async def test_branches_have_one_network_with_their_parent(house):
    sandbox = await house.sandbox(egress=RULES)
    made = await house.branches.fork(TENANT, sandbox.id, 1)
    branch = house.manager.get(TENANT, made.children[0].id)
    assert branch.egress == RULES
    await house.manager.update(TENANT, branch.id, egress=OFF)
    assert sandbox.egress == OFF


async def test_neither_a_change_nor_a_branchs_goes_beyond_what_the_operator_allows(make_house):
    house = make_house(settings(network=NetworkSettings(default=RULES, most=RULES)))
    sandbox = await house.sandbox(egress=RULES)
    made = await house.branches.fork(TENANT, sandbox.id, 1)
    for name in (sandbox.id, made.children[0].id):
        for egress in (INTERNET, Egress.from_json({"allow": ["files.example.org", "pypi.org"]})):
            with pytest.raises(InvalidArgumentError, match=r"at most: files\.example\.org\."):
                await house.manager.update(TENANT, name, egress=egress, labels={"a": "b"})
        await house.manager.update(TENANT, name, egress=OFF)
        await house.manager.update(TENANT, name, egress=RULES)
    assert (sandbox.egress, sandbox.labels) == (RULES, {})


async def test_a_change_that_fails_or_that_is_no_policy_here_changes_nothing_else(house):
    sandbox = await house.sandbox(egress=RULES)
    house.kernels.refuse = True
    with pytest.raises(NoCapacityError):
        await house.manager.update(TENANT, sandbox.id, egress=INTERNET, labels={"a": "b"})
    with pytest.raises(InvalidArgumentError, match=r"10\.0\.0\.0/8"):
        await house.manager.update(
            TENANT, sandbox.id, egress=Egress.from_json({"allow": ["10.0.0.0/8"]}), labels={"a": "b"}
        )
    assert (sandbox.egress, sandbox.labels) == (RULES, {})


async def test_whoever_runs_code_is_told_once_what_was_refused_and_the_notebook_is_not(house, sandbox):
    execution = await sandbox.execute(ExecutionRequest(BEGIN_AND_WAIT))
    seen = []
    async with asyncio.timeout(SECONDS):
        async for _, output in execution.stamped():
            seen.append(output)
            if output["output_type"] == "stream":
                sandbox_network(house).hear([ALLOWED, REFUSED, REFUSED])
            elif output["output_type"] == "network":
                execution.cancel()
    told = [output for output in seen if output["output_type"] == "network"]
    assert told == [{"output_type": "network", **{name: REFUSED[name] for name in TOLD}}]
    assert [notice.message for notice in execution.refusals] == [WHY]
    assert "network" not in {output["output_type"] for _, output in house.observed[sandbox.id].outputs}


async def test_what_was_told_before_a_run_ended_is_in_that_run(house, sandbox):
    network = sandbox_network(house)
    network.catch_up = lambda: network.hear([REFUSED])
    assert [notice.message for notice in (await run(sandbox, "print(1)")).execution.refusals] == [WHY]


def sandbox_network(house) -> FamilyNetwork:
    return house.kernels.handles[-1].network


async def test_what_was_refused_while_nothing_ran_is_in_the_log_and_in_no_run(house, sandbox):
    sandbox_network(house).hear([ALLOWED, REFUSED])
    assert (await run(sandbox, "print(1)")).execution.refusals == []
    log = sandbox.network_log
    assert (log.allowed, log.refused) == (1, 1)
    assert [(one.host, one.sent, one.reason) for one in log.connections] == [
        ("files.example.org", 7, None),
        ("elsewhere.example.net", 0, WHY),
    ]


async def test_a_run_that_is_refused_without_end_is_told_a_bounded_number_of_them(house, sandbox):
    execution = await sandbox.execute(ExecutionRequest(BEGIN_AND_WAIT))
    many = [{**REFUSED, "reason": f"{number} is not allowed"} for number in range(10_000)]
    async with asyncio.timeout(SECONDS):
        async for _, output in execution.stamped():
            if output["output_type"] == "stream":
                sandbox_network(house).hear(many)
                execution.cancel()
    assert len(execution.refusals) == 32
    assert sandbox.network_log.refused == 10_000
    assert len(sandbox.network_log.connections) == MOST_KEPT


async def test_a_record_that_stands_for_many_counts_as_many_and_is_one_line(house, sandbox):
    sandbox_network(house).hear([{**REFUSED, "host": "any", "port": None, "count": 37, "reason": "37 were refused."}])
    log = sandbox.network_log
    assert (log.refused, [(one.host, one.port, one.reason) for one in log.connections]) == (
        37,
        [("any", None, "37 were refused.")],
    )


async def test_an_ended_sandbox_is_told_nothing_more(house, sandbox):
    await house.manager.close(TENANT, sandbox.id)
    sandbox_network(house).hear([REFUSED])
    assert sandbox.network_log.refused == 0


def test_a_log_believes_no_shape():
    log = NetworkLog(lambda: NOW)
    log.hear([{}, {**REFUSED, "host": "x" * 10_000, "port": "80", "reason": "y" * 10_000}])
    log.hear([{"verdict": "untold", "count": 5}])
    assert (log.allowed, log.refused, log.untold) == (1, 1, 5)
    assert [(len(one.host), one.port) for one in log.connections] == [(4, None), (300, None)]


def test_the_audit_has_a_line_of_json_for_each_and_whose_it_was(tmp_path):
    network = FamilyNetwork(RULES)
    network.label |= {"sandbox_id": "sbx_1", "tenant_id": "t"}
    audit = NetworkAudit(tmp_path, lambda: NOW)
    audit.write(network, [ALLOWED, {**REFUSED, "host": "a\nb", "secret": 1}])
    audit.close()
    path = tmp_path / "network.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    whose = {"at": "2026-01-01T00:00:00.000+00:00", "sandbox_id": "sbx_1", "tenant_id": "t"}
    assert first == {**whose, **ALLOWED}
    assert second == {**whose, **REFUSED, "host": "a\nb"}
