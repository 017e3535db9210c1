"""Places of a tenant."""

import pytest

from podflare_nb.errors import QuotaExceededError
from podflare_nb.sandboxes.quotas import Places


def test_a_place_over_the_limit_is_refused_with_the_limit_and_when_to_retry():
    places = Places(2)
    places.take("a")
    places.take("a")
    with pytest.raises(QuotaExceededError, match="2 of 2") as refused:
        places.take("a")
    assert refused.value.details["retry_after"] > 0


def test_tenants_have_their_own_places():
    places = Places(1)
    places.take("a")
    places.take("b")
    assert (places.taken("a"), places.taken("b")) == (1, 1)


def test_a_place_given_back_can_be_taken_again():
    places = Places(1)
    places.take("a")
    places.give_back("a")
    places.take("a")
    assert places.taken("a") == 1
