import pytest

from podflare_nb.errors import QuotaExceededError
from podflare_nb.tenants.quotas import Admissions, check
from podflare_nb.tenants.tenant import Tenant

FIVE = Tenant("t", "T", max_sandboxes=5)
GIB = Tenant("t", "T", max_memory_mib=1024)


def test_a_tenant_gets_as_many_sandboxes_as_it_may_have():
    check(FIVE, [128] * 4, 128)
    with pytest.raises(QuotaExceededError, match="5 at once") as refused:
        check(FIVE, [128] * 5, 128)
    assert refused.value.details["retry_after"] > 0


def test_a_tenant_gets_as_much_memory_as_it_may_have():
    check(GIB, [512], 512)
    with pytest.raises(QuotaExceededError, match="1024 MiB together"):
        check(GIB, [512], 513)


def test_creates_under_way_count_until_they_are_over():
    admissions = Admissions()
    with admissions.admit(FIVE, [1, 1, 1], 1), admissions.admit(FIVE, [1, 1, 1], 1):
        with pytest.raises(QuotaExceededError), admissions.admit(FIVE, [1, 1, 1], 1):
            pass
        with admissions.admit(Tenant("other", "O", max_sandboxes=1), [], 1):
            pass
    with admissions.admit(FIVE, [1, 1, 1, 1], 1):
        pass


def test_a_create_that_fails_gives_its_place_back():
    admissions = Admissions()
    with pytest.raises(ValueError, match="failed"), admissions.admit(FIVE, [1] * 4, 1):
        raise ValueError("failed")
    with admissions.admit(FIVE, [1] * 4, 1):
        assert "1 under way" in repr(admissions)
