"""Egress policies as they are written: one spelling for each host, and mistakes that name the rule."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from podflare_nb.errors import InvalidArgumentError
from podflare_nb.protocol.egress import (
    INTERNET,
    MAX_RULES,
    OFF,
    Egress,
    NameRule,
    RangeRule,
    host,
    host_and_port,
    networks,
    unmapped,
)

ONE_SPELLING = {
    "files.example.org": "files.example.org",
    "FILES.Example.ORG": "files.example.org",
    "files.example.org.": "files.example.org",
    "bücher.example": "xn--bcher-kva.example",
    "BÜCHER.example": "xn--bcher-kva.example",
    "faß.example": "xn--fa-hia.example",
    "\uff46\uff55\uff4c\uff4c.example": "full.example",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "_service.example.org": "_service.example.org",
    "localhost": "localhost",
    "1.2.3.4": IPv4Address("1.2.3.4"),
    "1.2.3.4.": IPv4Address("1.2.3.4"),
    "\uff11.2.3.4": IPv4Address("1.2.3.4"),
    "[2606:2800::1]": IPv6Address("2606:2800::1"),
    "2606:2800:0:0::1": IPv6Address("2606:2800::1"),
    "::ffff:10.1.2.3": IPv4Address("10.1.2.3"),
    "[::ffff:7f00:1]": IPv4Address("127.0.0.1"),
    "0:0:0:0:0:FFFF:7F00:0001": IPv4Address("127.0.0.1"),
}
NO_HOST = [
    "", ".", "..", "a..b", ".a", "-a.example", "a-.example", "a b", "a\0b", "a.example\0.org", "a.example\n", "a/b",
    "a@b",
    "user@files.example.org", "user:secret@files.example.org", "a%00b", "127.1", "127.0.1", "2130706433", "0x7f.0.0.1",
    "0x7f000001", "0177.0.0.1", "017700000001", "1.2.3.4.5", "1.2.3.256", "1.2.3.08", "01.2.3.4", "1.2.3.4..", "0",
    "0x", "example.0x7f", "example.1", "[1.2.3.4]", "[::1", "::1]", "[[::1]]", "fe80::1%eth0", "[fe80::1%25eth0]",
    "1:2:3", ":::", "a" * 64 + ".example", ".".join(["a" * 60] * 5), "*", "*.", "a.*.b", "a*.example",
    "xn--a.example\u200b.",
    "🙂" * 64, "a。b。。c",
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), ONE_SPELLING.items())
def test_each_host_has_one_spelling(text, wanted):
    assert host(text) == wanted


@pytest.mark.parametrize("text", NO_HOST)
def test_what_is_no_host_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        host(text)


@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_what_they_say(value):
    egress = Egress.from_json(value)
    assert egress == (INTERNET if value else OFF)
    assert egress.to_json() is value
    assert egress.allows_name("files.example.org", 443) is value


@pytest.mark.parametrize(
    "value",
    [None, 0, 1, "true", "", [], ["a.example"], {}, {"allow": None}, {"allow": "a"}, {"allow": {}}, {"deny": []},
     {"allow": [], "deny": []}, {"allow": ("a",)}, 1.5],
)  # fmt: skip
def test_what_is_no_policy_is_refused_with_the_shape(value):
    with pytest.raises(InvalidArgumentError, match=r"egress must be true, false or an object"):
        Egress.from_json(value)


RULES = {
    "files.example.org": "files.example.org",
    "*.Example.COM.": "*.example.com",
    "example.net:443": "example.net:443",
    "example.net:0443": "example.net:443",
    "192.0.2.0/24:5432": "192.0.2.0/24:5432",
    "192.0.2.7": "192.0.2.7",
    "192.0.2.7/32": "192.0.2.7",
    "0.0.0.0/0": "0.0.0.0/0",
    "::/0": "::/0",
    "[2001:db8::/32]:443": "[2001:db8::/32]:443",
    "2001:db8::/32": "2001:db8::/32",
    "[2001:db8::1]:443": "[2001:db8::1]:443",
    "2001:db8::1": "2001:db8::1",
    "::ffff:10.0.0.0/104": "10.0.0.0/8",
    "[::ffff:10.1.2.3]:80": "10.1.2.3:80",
    "*.bücher.example:8080": "*.xn--bcher-kva.example:8080",
}


@pytest.mark.parametrize(("text", "wanted"), RULES.items())
def test_rules_are_read_and_shown_in_one_spelling(text, wanted):
    egress = Egress.from_json({"allow": [text]})
    assert egress.to_json() == {"allow": [wanted]}
    assert Egress.from_json(egress.to_json()) == egress


MALFORMED = [
    *(text for text in NO_HOST if text), "*.1.2.3.4", "*.*.example", "**.example", "example.org:", "example.org:0",
    "example.org:65536", "example.org:-1", "example.org:http", "example.org:80:80", "example.org:٨٠", "10.0.0.1/8",
    "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/255.0.0.0", "10.0.0.0/8/8", "/8", "example.org/8", "10/8",
    "2001:db8::/129", "2001:db8::1/32", "http://example.org", "example.org/path", " example.org", "example.org ",
    "10.0.0.0-10.0.0.9", "*.example.org/24", "x" * 400,
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_rule_is_named(text):
    with pytest.raises(InvalidArgumentError) as refused:
        Egress.from_json({"allow": ["files.example.org", text]})
    assert repr(text)[:40] in refused.value.message
    assert "A rule is" in refused.value.message
    assert refused.value.details["rule"] == text[:300]


@pytest.mark.parametrize("text", ["http://a.b", "https://a.b:443/x", "HTTP://[::1]:80", "s3://bucket"])
def test_a_rule_with_a_scheme_is_told_that_only_a_host_can_be_there(text):
    with pytest.raises(InvalidArgumentError, match="is an address with a scheme, where only a host can be") as refused:
        Egress.from_json({"allow": [text]})
    assert "port from" not in refused.value.message


@pytest.mark.parametrize("value", [None, 1, True, ["a"], {"host": "a"}])
def test_a_rule_that_is_no_string_is_named(value):
    with pytest.raises(InvalidArgumentError, match="a rule is a string") as refused:
        Egress.from_json({"allow": [value]})
    assert repr(value) in refused.value.message


def test_there_are_at_most_so_many_rules():
    rules = [f"host{number}.example" for number in range(MAX_RULES)]
    assert len(Egress.from_json({"allow": rules}).rules) == MAX_RULES
    with pytest.raises(InvalidArgumentError, match=f"{MAX_RULES + 1} rules"):
        Egress.from_json({"allow": [*rules, "one.example"]})


@pytest.mark.parametrize(
    ("name", "port", "allowed"),
    [("files.example.org", 80, True), ("x.files.example.org", 80, False), ("example.com", 80, False),
     ("a.example.com", 80, True), ("a.b.example.com", 80, True), ("badexample.com", 80, False),
     ("example.com.evil.example", 80, False), ("example.net", 443, True), ("example.net", 80, False)],
)  # fmt: skip
def test_names_match_whole_labels_and_ports(name, port, allowed):
    egress = Egress.from_json({"allow": ["files.example.org", "*.example.com", "example.net:443"]})
    assert egress.allows_name(name, port) is allowed
    assert egress.knows_name(name) is (allowed or name == "example.net")


def test_addresses_match_their_ranges_only_and_never_names():
    egress = Egress.from_json({"allow": ["192.0.2.0/24:5432", "2001:db8::/32"]})
    asked = [("192.0.2.255", 5432), ("192.0.2.255", 80), ("192.0.3.0", 5432), ("2001:db8::9", 1), ("2001:db9::", 1)]
    assert [egress.allows_address(ip_address(a), port) for a, port in asked] == [True, False, False, True, False]
    assert not egress.allows_name("192.0.2.1", 5432)
    assert not INTERNET.allows_address(ip_address("192.0.2.1"), 1)


def test_an_empty_list_allows_nothing():
    egress = Egress.from_json({"allow": []})
    assert (egress.to_json(), str(egress)) == ({"allow": []}, "nothing")
    assert not egress.allows_name("files.example.org", 443)
    assert not egress.allows_address(ip_address("93.184.216.34"), 443)
    assert egress != OFF


@pytest.mark.parametrize(
    ("text", "default", "wanted"),
    [("a.example:80", None, ("a.example", 80)), ("a.example", 443, ("a.example", 443)),
     ("[::1]:80", None, (IPv6Address("::1"), 80)), ("[::1]", 80, (IPv6Address("::1"), 80)),
     ("1.2.3.4:8080", 80, (IPv4Address("1.2.3.4"), 8080))],
)  # fmt: skip
def test_authorities_are_taken_apart(text, default, wanted):
    assert host_and_port(text, default) == wanted


@pytest.mark.parametrize("text", ["a.example", "user@a.example:80", "a.example:", "a.example:99999", "[::1]80", ":80"])
def test_what_is_no_authority_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        host_and_port(text)


@pytest.mark.parametrize("text", ["10.1.0.0/8", "ten", "10.0.0.0/8 "])
def test_operators_ranges_are_refused_with_an_example(text):
    with pytest.raises(InvalidArgumentError, match=r"written like 10\.1\.0\.0/16"):
        networks([text])


LABELS = st.from_regex(r"\A[a-z_][a-z0-9_-]{0,20}[a-z]\Z")
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PORTS = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
RANGES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(lambda bits: ip_network((address, bits), strict=False))
)
WRITTEN = st.one_of(
    st.tuples(st.sampled_from(["", "*."]), NAMES, PORTS).map("".join),
    st.tuples(RANGES, PORTS).map(
        lambda two: f"[{two[0]}]{two[1]}" if two[0].version == 6 and two[1] else f"{two[0]}{two[1]}"
    ),
    st.ip_addresses().map(str).filter(lambda text: "%" not in text),
)


@given(st.lists(WRITTEN, max_size=6))
def test_what_is_shown_reads_back_as_the_same(texts):
    egress = Egress.from_json({"allow": texts})
    assert Egress.from_json(egress.to_json()) == egress
    assert Egress.from_json({"allow": [str(rule) for rule in egress.rules]}) == egress
    assert len(egress.rules) == len(texts)


@given(st.text(max_size=30))
@example("0x7f.1")
@example("\uff11\uff12\uff17\uff0e\uff11")
@example("a.example\u3002")
def test_whatever_is_read_as_a_host_is_read_the_same_again(text):
    try:
        found = host(text)
    except ValueError:
        return
    assert host(str(found)) == found
    if isinstance(found, str):
        assert found.isascii()
        assert found == found.lower()
        assert not found.rpartition(".")[2].isdecimal()
    else:
        assert unmapped(found) == found


@given(st.one_of(st.text(max_size=20), st.binary(max_size=3), st.integers(), st.none(), st.lists(st.text(max_size=5))))
def test_any_rule_is_read_or_refused_in_one_way(value):
    refused = ""
    try:
        egress = Egress.from_json({"allow": [value]})
        assert Egress.from_json(egress.to_json()) == egress
    except InvalidArgumentError as error:
        refused = error.message
    assert not refused or refused.startswith("egress.allow has ")


MOST = ["files.example.org", "*.example.com:443", "192.0.2.0/24:5432", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("wanted", "most", "beyond"),
    [
        (False, False, ""),
        ({"allow": []}, False, ""),
        (True, True, ""),
        ({"allow": ["10.0.0.0/8", "*.example"]}, True, ""),
        (True, False, "true"),
        (True, {"allow": MOST}, "true"),
        ({"allow": ["files.example.org"]}, False, "files.example.org"),
        ({"allow": MOST}, {"allow": MOST}, ""),
        ({"allow": ["FILES.example.org.", "files.example.org:80"]}, {"allow": MOST}, ""),
        ({"allow": ["*.files.example.org"]}, {"allow": MOST}, "*.files.example.org"),
        ({"allow": ["a.files.example.org"]}, {"allow": MOST}, "a.files.example.org"),
        ({"allow": ["a.example.com:443", "*.a.example.com:443"]}, {"allow": MOST}, ""),
        ({"allow": ["example.com:443"]}, {"allow": MOST}, "example.com:443"),
        ({"allow": ["badexample.com:443"]}, {"allow": MOST}, "badexample.com:443"),
        ({"allow": ["a.example.com"]}, {"allow": MOST}, "a.example.com"),
        ({"allow": ["a.example.com:80"]}, {"allow": MOST}, "a.example.com:80"),
        ({"allow": ["192.0.2.128/25:5432", "192.0.2.7:5432", "2001:db8:1::/48"]}, {"allow": MOST}, ""),
        ({"allow": ["192.0.2.7"]}, {"allow": MOST}, "192.0.2.7"),
        ({"allow": ["192.0.0.0/16:5432"]}, {"allow": MOST}, "192.0.0.0/16:5432"),
        ({"allow": ["0.0.0.0/0"]}, {"allow": MOST}, "0.0.0.0/0"),
        ({"allow": ["files.example.org", "pypi.org"]}, {"allow": MOST}, "pypi.org"),
    ],
)
def test_what_is_beyond_a_most_is_named(wanted, most, beyond):
    assert Egress.from_json(wanted).beyond(Egress.from_json(most)) == beyond


RULES = st.lists(WRITTEN, max_size=3).map(lambda texts: Egress.from_json({"allow": texts}))


@given(RULES, RULES, NAMES, st.ip_addresses(), st.integers(1, 65535))
def test_what_is_within_a_most_allows_nothing_that_the_most_does_not(wanted, most, name, address, port):
    both = Egress("allow", wanted.rules + most.rules)
    assert not wanted.beyond(both)
    if not wanted.beyond(most):
        for rule in wanted.rules:
            names = [rule.name, f"a.{rule.name}", name] if isinstance(rule, NameRule) else [name]
            addresses = [rule.network[0], rule.network[-1], address] if isinstance(rule, RangeRule) else [address]
            for at in {rule.port or port, port}:
                assert all(most.allows_name(each, at) for each in names if wanted.allows_name(each, at))
                assert all(most.allows_address(each, at) for each in addresses if wanted.allows_address(each, at))
