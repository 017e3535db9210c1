import asyncio

from podflare_nb.provisioning.network.records import (
    BATCH_RECORDS,
    BURST,
    MAX_TEXT,
    MAX_WAITING,
    RECORDS_A_SECOND,
    ConnectionRecord,
    Records,
)


def record(network="n", **more):
    return ConnectionRecord(network, "allowed", "tcp", more.pop("host", "a.example"), 443, **more)


def count_of(sent):
    return sum(len(body.get("records", ())) + sum(body.get("dropped", {}).values()) for body in sent)


async def told(records, sent, count):
    """Run until so many records were told or counted as dropped."""
    async with asyncio.timeout(60):
        running = asyncio.create_task(records.run())
        while count_of(sent) < count:  # noqa: ASYNC110 - any turn of the loop may bring it
            await asyncio.sleep(0)
        running.cancel()


async def test_one_networks_noise_takes_nothing_from_another():
    now, sent = [0.0], []
    records = Records(lambda body: sent.append(body) or True, lambda: now[0])
    for _ in range(1_000):
        records.add(record("loud"))
    records.add(record("quiet"))
    await told(records, sent, 1_001)
    networks = [each["network"] for body in sent for each in body["records"]]
    assert (networks.count("loud"), networks.count("quiet")) == (BURST, 1)
    assert sum(body["dropped"].get("loud", 0) for body in sent) == 1_000 - BURST
    assert max(len(body["records"]) for body in sent) <= BATCH_RECORDS
    now[0] += 1
    sent.clear()
    for _ in range(1_000):
        records.add(record("loud"))
    await told(records, sent, 1_000)
    assert sum(len(body["records"]) for body in sent) == RECORDS_A_SECOND


async def test_what_a_full_socket_does_not_take_is_told_later_and_bounded():
    now, sent, full = [0.0], [], [True]
    records = Records(lambda body: not full[0] and (sent.append(body) or True), lambda: now[0])
    running = asyncio.create_task(records.run())
    for index in range(2 * MAX_WAITING):
        records.add(record(str(index)))
    records.add_traffic("n", 5, 7)
    records.add_traffic("n", 1, 1)
    await asyncio.sleep(0)
    full[0] = False
    async with asyncio.timeout(60):
        while not any(body["event"] == "traffic" for body in sent):
            await asyncio.sleep(0)
            now[0] += 1
    running.cancel()
    connections = [body for body in sent if body["event"] == "connections"]
    assert sum(len(body["records"]) for body in connections) == MAX_WAITING
    assert sum(sum(body["dropped"].values()) for body in connections) == MAX_WAITING
    assert {"event": "traffic", "networks": {"n": [6, 8]}} in sent


def test_texts_are_bounded():
    told = record(host="x" * 1_000, reason="y" * 1_000).to_json()
    assert (len(told["host"]), len(told["reason"])) == (MAX_TEXT, MAX_TEXT)


def test_what_was_refused_is_told_before_whoever_asked_can_know():
    sent = []
    records = Records(lambda body: sent.append(body) or True, lambda: 0.0)
    records.add(record(host="allowed.example"))
    assert sent == []
    for host in ("first.example", "second.example"):
        records.add(ConnectionRecord("n", "refused", "dns", host, 53))
    assert [[each["host"] for each in body["records"]] for body in sent] == [
        ["allowed.example", "first.example"],
        ["second.example"],
    ]


async def test_whoever_refuses_waits_until_it_was_passed_on():
    sent = []
    records = Records(lambda body: sent.append(body) or True, lambda: 0.0)
    await records.delivered()  # nothing was sent
    records.add(ConnectionRecord("n", "refused", "dns", "a.example", 53))
    records.add(ConnectionRecord("n", "refused", "dns", "b.example", 53))
    delivery = asyncio.create_task(records.delivered())
    await asyncio.sleep(0)
    records.heard(sent[0]["number"])
    await asyncio.sleep(0)
    assert not delivery.done()
    records.heard(sent[1]["number"])
    async with asyncio.timeout(60):
        await delivery
        await records.delivered()


async def test_whoever_refuses_waits_once_and_not_long_for_somebody_who_does_not_listen():
    records = Records(lambda _: True, lambda: 0.0)
    async with asyncio.timeout(60):
        for number in range(1, 1_000):  # with a wait for each it would be minutes
            records.add(ConnectionRecord(str(number), "refused", "dns", "a.example", 53))
            await records.delivered()
    records.heard(1)
    delivery = asyncio.create_task(records.delivered())
    await asyncio.sleep(0)
    assert not delivery.done()
    records.heard(999)
    async with asyncio.timeout(60):
        await delivery
