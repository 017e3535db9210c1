"""Names as a sandbox is told of them, through the real process and a name server that lies."""

import contextlib
import socket

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rrset
import pytest

from .internet import INTERNET, OFF, OTHER_PUBLIC, PRIVATE, PUBLIC, PUBLIC_6, connected, exchange
from .name_servers import LyingNameServer


@pytest.fixture
def names(world):
    with contextlib.closing(LyingNameServer(world)) as server:
        yield server


def ask(sandbox, name, kind="A", *, tcp=False, query=None):
    query = query or dns.message.make_query(name, kind, use_edns=0)
    wire = query.to_wire()
    if tcp:
        with sandbox.connect(53) as sock:
            sock.sendall(len(wire).to_bytes(2, "big") + wire)
            size = int.from_bytes(sock.recv(2), "big")
            data = b""
            while len(data) < size:
                data += sock.recv(size - len(data))
            return dns.message.from_wire(data)
    with sandbox.datagrams() as sock:
        sock.send(wire)
        answer = dns.message.from_wire(sock.recv(4096))
        assert answer.id == query.id
        return answer


def texts(answer):
    return sorted(str(record) for rrset in answer.answer for record in rrset)


@pytest.mark.parametrize("tcp", [False, True])
def test_allowed_names_have_their_public_addresses(gateway, names, tcp):
    names.answers = {
        ("web.example.com", "A"): [PUBLIC, PRIVATE, "127.0.0.1"],
        ("web.example.com", "AAAA"): [PUBLIC_6, "fd00::1"],
    }
    sandbox = gateway.open({"allow": ["*.example.com:443", "files.example.org"]})
    assert texts(ask(sandbox, "web.example.com", tcp=tcp)) == [PUBLIC]
    assert texts(ask(sandbox, "WEB.example.com.", "AAAA", tcp=tcp)) == [PUBLIC_6]
    answer = ask(sandbox, "files.example.org", tcp=tcp)  # of the host's own hosts file
    assert (texts(answer), answer.answer[0].ttl) == ([PUBLIC], 30)
    assert texts(ask(sandbox, "files.example.org", "AAAA", tcp=tcp)) == []


def test_other_names_do_not_exist_and_nobody_is_asked(gateway, names):
    names.answers = {("evil.example", "A"): [PUBLIC]}
    sandbox = gateway.open({"allow": ["*.example.com"]})
    answer = ask(sandbox, "evil.example")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert "this sandbox's egress allows *.example.com. Change it" in str(answer.extended_errors()[0].text)
    assert names.asked == []
    assert (
        "egress allows *.example.com"
        in gateway.record(verdict="refused", protocol="dns", host="evil.example")["reason"]
    )
    gateway.say(op="egress", network="net1", egress=True)
    assert texts(until_answered(sandbox, "evil.example")) == [PUBLIC]  # the control
    gateway.say(op="egress", network="net1", egress=False)
    sandbox2 = gateway.open(OFF, "net2")
    answer = ask(sandbox2, "web.example.com")
    assert (answer.rcode(), answer.answer) == (dns.rcode.NXDOMAIN, [])
    assert ("web.example.com", "A") not in names.asked


def until_answered(sandbox, name):
    """A change of policy travels another way than a query."""
    for _ in range(1000):
        answer = ask(sandbox, name)
        if answer.rcode() == dns.rcode.NOERROR:
            return answer
    raise AssertionError("the change never came")


def test_a_name_without_public_addresses_does_not_exist_and_says_why(start_gateway, names):
    names.answers = {("inner.example", "A"): [PRIVATE]}
    gateway = start_gateway(private_networks=["10.0.0.0/8"])
    for name, egress in (("net1", True), ("net2", {"allow": ["inner.example", "10.0.0.0/8"]})):
        answer = ask(gateway.open(egress, name), "inner.example")
        assert (answer.rcode(), texts(answer)) == (dns.rcode.NXDOMAIN, [])
        assert PRIVATE in gateway.record(verdict="refused", network=name, host="inner.example")["reason"]
    control = start_gateway(public_networks=["10.0.0.0/8"]).open(INTERNET, "net3")
    assert texts(ask(control, "inner.example")) == [PRIVATE]


def test_no_search_domain_is_tried(gateway, names):
    """The host's is example.com."""
    names.answers = {("short.example.com", "A"): [PUBLIC], ("two.parts.example.com", "A"): [PUBLIC]}
    sandbox = gateway.open(INTERNET)
    for name in ("short", "two.parts"):
        assert ask(sandbox, name).rcode() == dns.rcode.NXDOMAIN
    assert {name for name, _ in names.asked} == {"short", "two.parts"}


def test_other_types_are_asked_of_the_hosts_name_servers_if_the_internet_is_allowed(gateway, names):
    names.answers = {
        ("example.net", "MX"): ["10 mail.example.net."],
        ("example.net", "TXT"): ['"some text"'],
        ("_sip._tcp.example.net", "SRV"): ["1 2 5060 sip.example.net."],
        ("34.216.184.93.in-addr.arpa", "PTR"): ["files.example.org."],
    }
    names.additional = [dns.rrset.from_text("mail.example.net.", 60, "IN", "A", PUBLIC, PRIVATE)]
    names.additional.append(dns.rrset.from_text("inner.example.net.", 60, "IN", "A", PRIVATE))
    sandbox = gateway.open(INTERNET)
    for (name, kind), expected in names.answers.items():
        answer = ask(sandbox, name, kind)
        assert texts(answer) == expected
        assert [str(record) for rrset in answer.additional for record in rrset] == [PUBLIC]
    allowed = gateway.open({"allow": ["example.net"]}, "net2")
    asked = len(names.asked)
    answer = ask(allowed, "example.net", "MX")
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert len(names.asked) == asked


def test_hints_and_reverse_names_of_what_is_not_public_are_taken_out(start_gateway, names):
    names.answers = {
        ("hinted.example", "HTTPS"): [f"1 . ipv4hint={PUBLIC},{PRIVATE}", f"2 . ipv4hint={PUBLIC}"],
        ("3.2.1.10.in-addr.arpa", "PTR"): ["secret.corp."],
    }
    sandbox = start_gateway().open(INTERNET)
    control = start_gateway(public_networks=["10.0.0.0/8"]).open(INTERNET, "net2")
    for where, hints, names_of in ((sandbox, 1, []), (control, 2, ["secret.corp."])):
        assert len(texts(ask(where, "hinted.example", "HTTPS"))) == hints
        assert texts(ask(where, "3.2.1.10.in-addr.arpa", "PTR")) == names_of


def test_records_of_other_classes_are_taken_out_and_the_rest_is_told(gateway, names):
    names.answers = {("example.net", "TXT"): ['"some text"']}
    names.additional = [dns.rrset.from_text("example.net.", 60, "CH", "HTTPS", r"\# 3 000100")]
    answer = ask(gateway.open(INTERNET), "example.net", "TXT")
    assert (texts(answer), answer.additional) == (['"some text"'], [])


def test_long_answers_are_cut_off_on_udp_and_whole_on_tcp(gateway, names):
    long = [f'"{index:0>200}"' for index in range(20)]
    names.answers = {("long.example", "TXT"): long}
    names.only_tcp = {"long.example"}
    sandbox = gateway.open(INTERNET)
    answer = ask(sandbox, "long.example", "TXT")
    assert answer.flags & dns.flags.TC
    answer = ask(sandbox, "long.example", "TXT", tcp=True)
    assert (len(texts(answer)), answer.flags & dns.flags.TC) == (20, 0)


def test_a_name_server_that_does_not_answer_is_told_in_time_and_holds_up_nobody_else(gateway, names):
    names.answers = {("web.example.com", "A"): [PUBLIC]}
    names.silent = {f"n{index}.silent.example" for index in range(100)}
    sandbox, other = gateway.open(INTERNET), gateway.open(INTERNET, "net2")
    with sandbox.datagrams() as sock:
        for name in sorted(names.silent):
            sock.send(dns.message.make_query(name, "A").to_wire())
        assert texts(ask(other, "web.example.com")) == [PUBLIC]
        codes = [dns.message.from_wire(sock.recv(4096)).rcode() for _ in names.silent]
    assert set(codes) == {dns.rcode.SERVFAIL}


def test_what_is_no_query_is_dropped_and_the_next_is_answered(gateway, names):
    names.answers = {("web.example.com", "A"): [PUBLIC]}
    sandbox = gateway.open(INTERNET)
    query = dns.message.make_query("web.example.com", "A")
    answer = dns.message.make_response(query).to_wire()
    rubbish = [
        b"",
        b"x",
        bytes(11),
        bytes(12),
        b"\xff" * 500,
        answer,
        query.to_wire()[:-1],
        query.to_wire()[:12] + b"\xc0\x0c" * 50,
    ]
    with sandbox.datagrams() as sock:
        for part in rubbish:
            sock.send(part)
        sock.send(query.to_wire())
        while (got := dns.message.from_wire(sock.recv(4096))).id != query.id or not got.answer:
            pass
    with sandbox.connect(53) as sock:
        sock.sendall(b"\x00\x05hello")
        assert sock.recv(1) == b""


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("change", "rcode"),
    [
        ("opcode", dns.rcode.NOTIMP),
        ("class", dns.rcode.REFUSED),
        ("axfr", dns.rcode.NOTIMP),
        ("number", dns.rcode.NXDOMAIN),
    ],
)
def test_odd_questions_are_answered_so(gateway, change, rcode):
    query = dns.message.make_query("web.example.com", "A")
    if change == "opcode":
        query.set_opcode(dns.opcode.STATUS)
    elif change == "class":
        query = dns.message.make_query("version.bind", "TXT", "CH")
    elif change == "axfr":
        query = dns.message.make_query("example.com", "AXFR")
    else:
        query = dns.message.make_query("10.1.2.3", "A")
    assert ask(gateway.open(INTERNET), "", query=query).rcode() == rcode


def test_a_name_that_changes_between_check_and_connect_leads_to_what_was_checked(start_gateway, http_servers, names):
    """Rebinding: public when it is first asked for, private ever after."""
    host = "rebound.example"
    names.answers = {(host, "A"): [[OTHER_PUBLIC], [PRIVATE]]}
    request = f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    sandbox = start_gateway().open({"allow": [host]})
    assert f"reached {OTHER_PUBLIC}".encode() in exchange(sandbox, request)
    assert names.asked.count((host, "A")) == 1
    assert b"not a public address" in exchange(sandbox, request)
    assert http_servers[PRIVATE].seen == []
    control = start_gateway(public_networks=["10.0.0.0/8"]).open({"allow": [host]}, "net2")
    assert f"reached {PRIVATE}".encode() in exchange(control, request)


@pytest.mark.usefixtures("http_servers")
def test_a_kept_tunnel_stays_where_it_was_checked(gateway, names):
    host = "rebound.example"
    names.answers = {(host, "A"): [[OTHER_PUBLIC], [PRIVATE]]}
    sandbox = gateway.open({"allow": [host]})
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    with connected(sandbox, f"{host}:80") as sock:
        sock.sendall(request * 3)
        sock.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answers.count(f"reached {OTHER_PUBLIC}".encode()) == 3
