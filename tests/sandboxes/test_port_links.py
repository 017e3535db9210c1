"""Links and visits of a sandbox's ports: what they allow, and until when."""

import pytest

from podflare_nb.errors import ForbiddenError, GoneError
from podflare_nb.sandboxes.port_links import IDLE_SECONDS, MOST_VISITS, PortLinks

from .test_cookie_jar import Clock


def test_a_link_is_of_one_port_of_one_sandbox():
    links, others = PortLinks(Clock()), PortLinks(Clock())
    token, ends_at = links.make(8000, 60)
    assert links.check(8000, token).ends_at == ends_at
    for reads in (lambda: links.check(8001, token), lambda: others.check(8000, token)):
        with pytest.raises(ForbiddenError):
            reads()


def test_no_bit_of_a_link_can_be_changed():
    links = PortLinks(Clock())
    token, _ = links.make(8000, 60)
    for at in range(len(token) - 1):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        with pytest.raises(ForbiddenError):
            links.check(8000, changed)


def test_links_and_their_visits_end_by_time_and_by_word():
    clock = Clock()
    links = PortLinks(clock)
    token, _ = links.make(8000, 60)
    visit = links.visit(links.check(8000, token))
    other, _ = links.make(8001, 60)
    links.revoke(8000)
    for reads in (lambda: links.check(8000, token), lambda: links.find(8000, visit)):
        with pytest.raises(GoneError, match="revoked"):
            reads()
    assert links.check(8001, other)
    clock.now += 60
    with pytest.raises(GoneError, match="expired"):
        links.check(8001, other)


def test_a_visit_lasts_as_long_as_it_is_used():
    clock = Clock()
    links = PortLinks(clock)
    token = links.visit(links.for_owner(8000, None))
    for _ in range(3):
        clock.now += IDLE_SECONDS
        assert links.find(8000, token).port == 8000
    with pytest.raises(GoneError):
        links.find(8001, token)
    again = links.visit(links.for_owner(8000, None))
    clock.now += IDLE_SECONDS + 1
    with pytest.raises(GoneError, match="visit is over"):
        links.find(8000, again)


def test_many_visits_by_link_push_out_one_another_and_none_of_the_owner():
    links = PortLinks(Clock())
    owners = links.visit(links.for_owner(8000, None))
    token, _ = links.make(8000, 60)
    visits = [links.visit(links.check(8000, token)) for _ in range(MOST_VISITS[True] + 1)]
    with pytest.raises(GoneError):
        links.find(8000, visits[0])
    assert links.find(8000, visits[-1]).by_link
    assert not links.find(8000, owners).by_link
