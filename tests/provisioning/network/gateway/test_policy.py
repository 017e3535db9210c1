from ipaddress import IPv4Network, ip_address

import pytest

from podflare_nb.protocol.egress import INTERNET, OFF, Egress
from podflare_nb.provisioning.network.addresses import Reach
from podflare_nb.provisioning.network.gateway.policy import MAX_RULES_SHOWN, Policy, RefusedError

PUBLIC, PRIVATE = ip_address("93.184.216.34"), ip_address("10.1.2.3")


def allow(*rules):
    return Egress.from_json({"allow": list(rules)})


def reason(policy, host, port=443):
    with pytest.raises(RefusedError) as raised:
        policy.check(host, port)
    return raised.value.sentence


def test_off_refuses_names_and_addresses_and_says_so():
    policy = Policy(OFF, Reach())
    assert "this sandbox's egress is off" in reason(policy, "files.example.org")
    assert "this sandbox's egress is off" in reason(policy, PUBLIC)


def test_the_internet_is_every_name_and_every_public_address():
    policy = Policy(INTERNET, Reach())
    policy.check("anything.example", 1)
    policy.check(PUBLIC, 22)
    assert "not a public address" in reason(policy, PRIVATE)


def test_a_refusal_is_one_sentence_with_the_policy_and_how_to_change_it():
    policy = Policy(allow("files.example.org", "*.example.com"), Reach())
    assert reason(policy, "evil.example") == (
        "evil.example:443 is not allowed: this sandbox's egress allows files.example.org, *.example.com. "
        'Change it with PATCH /v1/sandboxes/{id} {"egress": ...}.'
    )
    assert reason(policy, ip_address("2606::1")).startswith("[2606::1]:443 is not allowed")


def test_an_empty_list_allows_nothing():
    policy = Policy(allow(), Reach())
    assert "allows nothing" in reason(policy, "files.example.org")
    assert "allows nothing" in reason(policy, PUBLIC)


def test_a_long_policy_is_told_in_part():
    policy = Policy(allow(*(f"n{index}.example" for index in range(MAX_RULES_SHOWN + 7))), Reach())
    assert policy.summary().endswith("and 7 more")


def test_an_address_needs_a_rule_that_names_it_and_an_operator_who_lets_it():
    named = allow("10.1.0.0/16:5432", "93.184.216.34")
    Policy(named, Reach()).check(PUBLIC, 80)
    assert "no policy of a sandbox may open this address" in reason(Policy(named, Reach()), PRIVATE, 5432)
    opened = Policy(named, Reach(private=(IPv4Network("10.0.0.0/8"),)))
    opened.check(PRIVATE, 5432)
    assert "egress allows" in reason(opened, PRIVATE, 5433)
    own = Reach(private=(IPv4Network("10.0.0.0/8"),), own=frozenset({PRIVATE}))
    assert "no policy" in reason(Policy(named, own), PRIVATE, 5432)


def test_a_name_leads_to_its_public_addresses_only_even_where_a_range_is_open():
    reach = Reach(private=(IPv4Network("10.0.0.0/8"),))
    policy = Policy(allow("files.example.org", "10.0.0.0/8"), reach)
    assert policy.chosen("files.example.org", 80, [PRIVATE, PUBLIC]) == [PUBLIC]
    with pytest.raises(RefusedError, match=r"it leads to 10\.1\.2\.3, which is not a public address"):
        policy.chosen("files.example.org", 80, [PRIVATE])
    declared = Policy(policy.egress, Reach(public=(IPv4Network("10.0.0.0/8"),)))
    assert declared.chosen("files.example.org", 80, [PRIVATE]) == [PRIVATE]
