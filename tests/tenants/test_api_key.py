import pytest

from podflare_nb.errors import InvalidArgumentError
from podflare_nb.tenants.api_key import PREFIX, check_chosen, digest, new_secret


def test_a_new_key_holds_all_of_its_random_bytes():
    assert new_secret(lambda count: bytes(range(count))) != new_secret(bytes)
    assert len(new_secret(bytes)) == len(PREFIX) + 43


def test_a_digest_is_not_the_key():
    assert len(digest("pfnb_x")) == 64
    assert digest("a") != digest("b")


@pytest.mark.parametrize("secret", ["short", "x" * 257, "has a space in the middle", "ümläute-sind-keine", "a" * 15])
def test_a_chosen_key_that_cannot_travel_is_refused(secret):
    with pytest.raises(InvalidArgumentError):
        check_chosen(secret)


def test_a_chosen_key_that_can_travel_is_taken():
    assert check_chosen("my-own_key.of~16") == "my-own_key.of~16"
