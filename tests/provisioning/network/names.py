"""A name server that says what a test wants, and something else the next time if the test wants that."""

import asyncio
import socket
import struct
from contextlib import suppress

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from .internet_servers import Closable

PORT = 53
KINDS = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}


class NameServer:
    """``names``: for each name what is answered, in turns; the last turn stays. An address is of the kind that it is.

    Start it in a place's loop. ``asked`` has each name once for every query of its IPv4 addresses.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.names: dict[str, list[list[str]]] = {}
        self.texts: dict[str, list[str]] = {}
        self.asked: list[str] = []

    async def start(self) -> list[Closable]:
        """Listen with UDP and TCP."""
        loop = asyncio.get_running_loop()
        datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(self.address, PORT))
        return [datagrams, await asyncio.start_server(self._serve, self.address, PORT)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                (size,) = struct.unpack(">H", await reader.readexactly(2))
                answer = self.answer(await reader.readexactly(size))
                writer.write(struct.pack(">H", len(answer)) + answer)
                await writer.drain()
        writer.close()

    def answer(self, wire: bytes) -> bytes:
        """What is said to a query."""
        query = dns.message.from_wire(wire)
        response = dns.message.make_response(query)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        if name not in self.names and name not in self.texts:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype in KINDS:
            found = self._turn(name, KINDS[question.rdtype])
            if found:
                kind = dns.rdatatype.to_text(question.rdtype)
                response.answer.append(dns.rrset.from_text_list(question.name, 0, "IN", kind, found))
        elif question.rdtype == dns.rdatatype.TXT and name in self.texts:
            response.answer.append(dns.rrset.from_text_list(question.name, 0, "IN", "TXT", self.texts[name]))
        return response.to_wire()

    def _turn(self, name: str, version: int) -> list[str]:
        turns = self.names.get(name, [[]])
        told = self.asked.count(name)
        if version == 4:
            self.asked.append(name)
        else:
            told = max(0, told - 1)  # resolvers ask for both; the IPv4 query came first
        return [each for each in turns[min(told, len(turns) - 1)] if (":" in each) == (version == 6)]


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        with suppress(socket.error):
            self._transport.sendto(self._server.answer(data), sender)
