"""Cookies of a sandbox's server, kept in the place of a browser."""

import pytest

from podflare_nb.sandboxes.cookie_jar import MOST_COOKIES, CookieJar


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("cookie", "at", "asked", "sent"),
    [
        ("a=b", "/x/y", "/x/z", "a=b"),
        ("a=b", "/x/y", "/xy", None),
        ("a=b; Path=/", "/x/y", "/q", "a=b"),
        ("a=b; Path=/x", "/", "/x", "a=b"),
        ("a=b; Path=/x", "/", "/x/", "a=b"),
        ("a=b; Path=/x", "/", "/xy", None),
        ("a=b; path=relative", "/x/y", "/x/", "a=b"),
        ('a="quoted; value"', "/", "/", 'a="quoted'),
        ("a=b=c; Secure; HttpOnly; SameSite=Strict; Domain=elsewhere.example", "/", "/", "a=b=c"),
        ("a=", "/", "/", "a="),
        ("nonsense", "/", "/", None),
        ("=x", "/", "/", None),
        ("a=b\r\nX: y", "/", "/", None),
        ("a=" + "x" * 5000, "/", "/", None),
        ("a=b; Max-Age=0", "/", "/", None),
        ("a=b; Max-Age=-1", "/", "/", None),
        ("a=b; Max-Age=9", "/", "/", "a=b"),
        ("a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "/", "/", None),
        ("a=b; Expires=Thu, 01 Jan 2099 00:00:00 GMT", "/", "/", "a=b"),
        ("a=b; Expires=whenever", "/", "/", "a=b"),
        ("a=b; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "/", "/", "a=b"),
    ],
)
def test_a_cookie_is_sent_where_it_belongs(cookie: str, at: str, asked: str, sent: str | None):
    jar = CookieJar(Clock())
    jar.take(cookie, at)
    assert jar.header_for(asked) == sent


def test_the_longest_path_comes_first_and_a_new_value_replaces():
    jar = CookieJar(Clock())
    for cookie in ("a=1; Path=/", "a=2; Path=/deep", "a=3; Path=/"):
        jar.take(cookie, "/")
    assert jar.header_for("/deep/er") == "a=2; a=3"


def test_cookies_end_in_their_time():
    clock = Clock()
    jar = CookieJar(clock)
    jar.take("a=b; Max-Age=10", "/")
    clock.now += 9
    assert jar.header_for("/") == "a=b"
    clock.now += 1
    assert jar.header_for("/") is None
    assert len(jar) == 0


def test_there_are_so_many_and_the_oldest_goes():
    jar = CookieJar(Clock())
    for number in range(MOST_COOKIES + 1):
        jar.take(f"c{number}=x", "/")
    assert len(jar) == MOST_COOKIES
    assert "c0=" not in jar.header_for("/")
