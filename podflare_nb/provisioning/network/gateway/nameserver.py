"""What one sandbox is answered when it asks for names.

Addresses come from the host's own resolver, and only public ones are told. Mode ``allow``: names that a rule knows, and
nothing but addresses. Mode ``internet``: other types are asked of the host's name servers, by a query of our own
(random id and port, connected socket), and what is not public is taken out of the answer. What is refused does not
exist (NXDOMAIN), and an Extended DNS Error (RFC 8914) says why.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.reversename
import dns.rrset

from ....protocol.egress import Address, address, host
from .policy import Policy, RefusedError
from .resolver import UnresolvedError
from .sandbox_network import SandboxNetwork

DNS_PORT = 53
TTL_SECONDS = 30
UDP_BYTES = 1232
CLASSIC_UDP_BYTES = 512
TCP_BYTES = 65_535
SERVER_SECONDS = 2.0
FORWARD_SECONDS = 4.5
MAX_NAMESERVERS = 3
ADDRESS_TYPES = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}
HINTED_TYPES = frozenset({dns.rdatatype.HTTPS, dns.rdatatype.SVCB})
FIRST_META_TYPE, LAST_META_TYPE = 249, 254
"""TKEY, TSIG, transfers, mail boxes."""


class NameServer:
    """``answer`` queries of one sandbox."""

    def __init__(self, network: SandboxNetwork) -> None:
        self._network = network

    async def answer(self, wire: bytes, *, udp: bool) -> bytes | None:
        """The answer to a query; None if it is none."""
        try:
            query = dns.message.from_wire(wire)
        except (dns.exception.DNSException, ValueError):
            return None
        if query.flags & dns.flags.QR:
            return None
        response = dns.message.make_response(query, recursion_available=True, our_payload=UDP_BYTES)
        await self._fill(query, response)
        asked = query.payload if query.edns >= 0 else CLASSIC_UDP_BYTES
        size = max(CLASSIC_UDP_BYTES, min(asked, UDP_BYTES)) if udp else TCP_BYTES
        return bytes(response.to_wire(max_size=size, prefer_truncation=True))

    async def _fill(self, query: dns.message.Message, response: dns.message.Message) -> None:
        if query.opcode() != dns.opcode.QUERY:
            response.set_rcode(dns.rcode.NOTIMP)
            return
        if len(query.question) != 1 or query.question[0].rdclass != dns.rdataclass.IN:
            response.set_rcode(dns.rcode.REFUSED)
            return
        question = query.question[0]
        try:
            if question.rdtype in ADDRESS_TYPES:
                await self._add_addresses(question, response)
            elif FIRST_META_TYPE <= question.rdtype <= LAST_META_TYPE:
                response.set_rcode(dns.rcode.NOTIMP)
            else:
                await self._add_others(question, response)
        except RefusedError as error:
            self._network.refused("dns", _text(question.name), DNS_PORT, error)
            await self._network.told()
            response.set_rcode(dns.rcode.NXDOMAIN)
            _explain(query, response, error.sentence)
        except UnresolvedError as error:
            codes = {"no name": dns.rcode.NXDOMAIN, "no address": dns.rcode.NOERROR, "failed": dns.rcode.SERVFAIL}
            response.set_rcode(codes[error.why])

    async def _add_addresses(self, question: dns.rrset.RRset, response: dns.message.Message) -> None:
        policy = self._network.policy
        name = _known(policy, question.name)
        resolver = self._network.around.resolver
        found = policy.chosen(name, DNS_PORT, await resolver.addresses(self._network.asker, name))
        texts = [str(each) for each in found if each.version == ADDRESS_TYPES[question.rdtype]]
        if texts:
            kind = dns.rdatatype.to_text(question.rdtype)
            response.answer.append(dns.rrset.from_text_list(question.name, TTL_SECONDS, "IN", kind, texts))

    async def _add_others(self, question: dns.rrset.RRset, response: dns.message.Message) -> None:
        policy = self._network.policy
        if policy.egress.mode != "internet":
            _known(policy, question.name)
            return
        _check_reverse(policy, question.name)
        resolver = self._network.around.resolver
        name, kind = question.name, question.rdtype
        found = await resolver.run(self._network.asker, _text(name), lambda: _forward(name, kind))
        response.set_rcode(found.rcode())
        for section in ("answer", "authority", "additional"):
            setattr(response, section, _public(policy, getattr(found, section)))


def _known(policy: Policy, name: dns.name.Name) -> str:
    """The name that is asked for, if it may be resolved. Raises RefusedError, UnresolvedError."""
    try:
        text = host(_text(name))
    except ValueError as error:
        raise UnresolvedError(f"{_text(name)} is no host name", "no name") from error
    if not isinstance(text, str):
        raise UnresolvedError(f"{text} is an address", "no name")
    if policy.egress.mode == "off":
        raise RefusedError(f"{text} is not resolved: this sandbox's egress is off")
    if not policy.egress.knows_name(text):
        raise RefusedError(f"{text} is not resolved: this sandbox's egress allows {policy.summary()}")
    return text


def _check_reverse(policy: Policy, name: dns.name.Name) -> None:
    """The names of addresses that cannot be reached are nobody's business. Raises RefusedError."""
    if not name.is_subdomain(dns.reversename.ipv4_reverse_domain) and not name.is_subdomain(
        dns.reversename.ipv6_reverse_domain
    ):
        return
    try:
        public = policy.reach.is_public(address(dns.reversename.to_address(name)))
    except (dns.exception.DNSException, ValueError):
        public = False
    if not public:
        raise RefusedError(f"{_text(name)} is not resolved: it is not of a public address", "")


def _forward(name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.message.Message:
    """Ask the host's name servers, in a resolver thread. Raises UnresolvedError."""
    try:
        servers = [str(each) for each in dns.resolver.Resolver().nameservers][:MAX_NAMESERVERS]
    except dns.exception.DNSException as error:
        raise UnresolvedError(f"the host has no name servers: {error}") from error
    deadline = time.monotonic() + FORWARD_SECONDS
    for server in servers:
        seconds = min(SERVER_SECONDS, deadline - time.monotonic())
        try:
            if seconds > 0:
                return _ask(dns.message.make_query(name, kind, use_edns=0, payload=UDP_BYTES), server, seconds)
        except (dns.exception.DNSException, OSError, EOFError, ValueError):
            continue
    raise UnresolvedError(f"{_text(name)} was not resolved: no name server answered")


def _ask(query: dns.message.Message, server: str, seconds: float) -> dns.message.Message:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((server, DNS_PORT))
        sock.settimeout(0)
        answer, _ = dns.query.udp_with_fallback(
            query, server, timeout=seconds, udp_sock=sock, ignore_unexpected=True, ignore_errors=True
        )
        return answer


def _public(policy: Policy, section: Iterable[dns.rrset.RRset]) -> list[dns.rrset.RRset]:
    """A section without what leads to an address that is not public, and without other classes than the internet's,
    which nobody has asked for and whose records are of other shapes."""
    kept = []
    for rrset in section:
        if rrset.rdclass != dns.rdataclass.IN:
            continue
        records = [record for record in rrset if all(map(policy.reach.is_public, _led_to(record)))]
        if records:
            kept.append(dns.rrset.from_rdata_list(rrset.name, rrset.ttl, records))
    return kept


def _led_to(record: Any) -> list[Address]:
    """The addresses in a record."""
    if record.rdtype in ADDRESS_TYPES:
        return [address(record.address)]
    if record.rdtype in HINTED_TYPES:
        hints = [hint for hint in record.params.values() if hasattr(hint, "addresses")]
        return [address(text) for hint in hints for text in hint.addresses]
    return []


def _explain(query: dns.message.Message, response: dns.message.Message, sentence: str) -> None:
    if query.edns >= 0:
        reason = dns.edns.EDEOption(dns.edns.EDECode.PROHIBITED, sentence[:CLASSIC_UDP_BYTES])
        response.use_edns(0, payload=UDP_BYTES, options=[reason])


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
