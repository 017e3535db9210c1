from datetime import UTC, datetime, timedelta

import pytest

from podflare_nb.errors import InvalidArgumentError, NotFoundError
from podflare_nb.storage.database import FILE_NAME
from podflare_nb.tenants.key_ring import KeyRing, open_key_ring


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ring(tmp_path, clock):
    with open_key_ring(tmp_path, clock=clock) as ring:
        ring.ensure_tenant("acme", max_sandboxes=3)
        yield ring


def test_a_key_is_recognised_as_its_tenants(ring: KeyRing):
    key, secret = ring.create("acme", label="ci")
    assert secret.startswith("pfnb_")
    known, tenant = ring.check(secret)
    assert (known.id, tenant.id, tenant.max_sandboxes) == (key.id, "acme", 3)
    assert ring.check_id(key.id)[1] == tenant


def test_two_keys_are_never_the_same(ring: KeyRing):
    assert ring.create("acme", label="a")[1] != ring.create("acme", label="b")[1]


@pytest.mark.parametrize("secret", ["", "pfnb_", "pfnb_unknown", "x" * 10_000, "pfnb_ä"])
def test_what_is_no_key_is_not_recognised(ring: KeyRing, secret):
    assert ring.check(secret) is None


def test_the_key_itself_is_nowhere_in_the_file(ring: KeyRing, tmp_path):
    _, secret = ring.create("acme", label="ci")
    ring.check(secret)
    ring.write_used()
    for path in tmp_path.glob(f"{FILE_NAME}*"):
        assert secret.encode() not in path.read_bytes()


def test_a_revoked_key_is_refused_at_once(ring: KeyRing):
    key, secret = ring.create("acme", label="ci")
    assert ring.check(secret)
    ring.revoke(key.id)
    assert ring.check(secret) is None
    assert ring.check_id(key.id) is None
    with pytest.raises(NotFoundError):
        ring.revoke(key.id)


def test_a_key_that_another_process_revoked_is_refused_at_once(ring: KeyRing, tmp_path, clock):
    key, secret = ring.create("acme", label="ci")
    assert ring.check(secret)
    with open_key_ring(tmp_path, clock=clock) as other:
        other.revoke(key.id)
    assert ring.check(secret) is None


def test_when_a_key_was_last_used_is_written_down_once_a_minute(ring: KeyRing, tmp_path, clock):
    key, secret = ring.create("acme", label="ci")
    ring.check(secret)
    with open_key_ring(tmp_path, clock=clock) as other:
        assert other.all_keys()[0].last_used_at is None
        clock.now += timedelta(minutes=1)
        ring.check(secret)
        assert other.all_keys()[0].last_used_at == clock.now
    assert ring.check_id(key.id)


def test_the_services_key_takes_the_place_of_the_one_before(ring: KeyRing):
    ring.set_service_key("first-key-of-the-service")
    same = ring.set_service_key("first-key-of-the-service")
    assert ring.check("first-key-of-the-service")[0].id == same.id
    ring.set_service_key("second-key-of-the-service")
    assert ring.check("first-key-of-the-service") is None
    ring.set_service_key("first-key-of-the-service")
    assert ring.check("first-key-of-the-service")[1].id == "local"


def test_a_key_of_another_tenant_cannot_be_chosen(ring: KeyRing):
    ring.ensure_tenant("other")
    _, secret = ring.create("other", label="")
    with pytest.raises(InvalidArgumentError, match="another"):
        ring.create("acme", label="", secret=secret)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../x", "a\n"])
def test_a_tenant_has_a_plain_name(ring: KeyRing, name):
    with pytest.raises(InvalidArgumentError, match="cannot name a tenant"):
        ring.ensure_tenant(name)


def test_a_tenants_quotas_are_changed_only_where_they_are_given(ring: KeyRing):
    ring.ensure_tenant("acme", max_memory_mib=4096)
    tenant = ring.tenant("acme")
    assert (tenant.max_sandboxes, tenant.max_memory_mib) == (3, 4096)
    with pytest.raises(NotFoundError):
        ring.tenant("nobody")
