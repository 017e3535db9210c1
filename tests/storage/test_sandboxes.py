from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from podflare_nb.errors import InvalidArgumentError
from podflare_nb.storage.database import Database
from podflare_nb.storage.sandboxes import SandboxRecord, SandboxRecords

NOW = datetime(2026, 11, 23, 21, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def records(tmp_path):
    with Database.open(tmp_path) as database:
        yield SandboxRecords(database)


def record(name: str, tenant: str = "local", **changes) -> SandboxRecord:
    made = SandboxRecord(
        id=name, tenant_id=tenant, template="python-minimal", kernel_id="k", created_at=NOW,
        timeout_seconds=60, idle_timeout_seconds=30, labels={"a": "ä"}, limits={"memory_mib": 128, "cpus": 0.5},
    )  # fmt: skip
    return replace(made, **changes)


def test_a_record_comes_back_as_it_was_added(records):
    records.add(record("one"))
    assert records.get("one") == record("one")
    assert records.get("two") is None


def test_an_update_changes_what_it_names_and_nothing_else(records):
    records.add(record("one"))
    records.update("one", title="Hello", labels={"b": "2"})
    assert records.get("one") == record("one", title="Hello", labels={"b": "2"})


def test_an_update_of_a_field_that_there_is_not_is_a_mistake_of_ours(records):
    with pytest.raises(TypeError, match="colour"):
        records.update("one", colour="red")


def test_a_naive_datetime_is_refused(records):
    with pytest.raises(Exception, match="no time zone"):
        records.add(record("one", created_at=datetime(2026, 1, 1)))  # noqa: DTZ001 - what is refused


def test_pages_are_newest_first_and_their_cursor_survives_new_sandboxes(records):
    for number in range(5):
        records.add(record(f"s{number}"))
    first = records.page("local", limit=2)
    records.add(record("s5"))
    second = records.page("local", limit=2, before=first[-1].id)
    assert [each.id for each in [*first, *second]] == ["s4", "s3", "s2", "s1"]


def test_a_page_has_only_the_tenants_own(records):
    records.add(record("mine"))
    records.add(record("theirs", tenant="other"))
    assert [each.id for each in records.page("local", limit=10)] == ["mine"]
    with pytest.raises(InvalidArgumentError, match="cursor"):
        records.page("local", limit=10, before="theirs")


def test_ended_sandboxes_are_listed_only_when_asked_for(records):
    records.add(record("live"))
    records.add(record("ended", ended_at=NOW, end_reason="closed", end_message="It was closed."))
    assert [each.id for each in records.page("local", limit=10)] == ["live"]
    assert [each.id for each in records.page("local", limit=10, include_closed=True)] == ["ended", "live"]


def test_what_a_killed_server_left_live_is_ended_with_a_reason(records):
    records.add(record("live"))
    records.add(record("ended", ended_at=NOW, end_reason="closed", end_message="It was closed."))
    later = NOW + timedelta(hours=1)
    assert records.end_live("crashed", "The server was killed.", later) == 1
    assert records.get("live") == record(
        "live", ended_at=later, end_reason="crashed", end_message="The server was killed."
    )
    assert records.get("ended").end_reason == "closed"
