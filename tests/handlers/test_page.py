import pytest

from podflare_nb.errors import NotFoundError
from podflare_nb.handlers.page import CONTENT_SECURITY_POLICY, read_page


def test_addresses_of_assets_become_absolute_below_the_base_url(tmp_path):
    (tmp_path / "index.html").write_text('<script src="static/page.js"></script><link href="static/page.css">')
    page = read_page("/user/ann/", tmp_path)
    assert page == (
        '<script src="/user/ann/podflare/static/page.js"></script><link href="/user/ann/podflare/static/page.css">'
    )


def test_a_page_that_was_not_built_says_how_to_build_it(tmp_path):
    with pytest.raises(NotFoundError, match="make run"):
        read_page("/", tmp_path)


def test_the_page_is_served_under_a_strict_policy(http):
    answer = http.get("")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "unsafe-inline" not in CONTENT_SECURITY_POLICY.split("script-src")[1].split(";")[0]


def test_assets_are_public_and_stay_in_their_directory(nobody):
    for path in ("..%2F..%2Fapp.py", "%2Fetc%2Fpasswd", ".hidden"):
        assert nobody.get(f"/static/{path}").status_code in {403, 404}
