"""What a model is told of the network."""

from podflare_nb.chat.prompt import MAX_RULES_SHOWN, SYSTEM_PROMPT, network
from podflare_nb.protocol.egress import INTERNET, OFF, Egress


def test_no_rules_are_no_network():
    assert network(Egress.from_json({"allow": []})) == network(OFF)
    assert "There is none" in network(OFF)


def test_the_internet_ends_at_private_addresses():
    assert "Private addresses" in network(INTERNET)


def test_rules_are_told_as_far_as_they_are_short():
    assert "a.example:443, *.b.example" in network(Egress.from_json({"allow": ["a.example:443", "*.b.example"]}))
    many = Egress.from_json({"allow": [f"{'x' * 60}{number}.example" for number in range(256)]})
    assert len(network(many)) < MAX_RULES_SHOWN + 600


def test_what_is_the_same_for_all_does_not_speak_of_the_network():
    assert "network" not in SYSTEM_PROMPT.lower()
