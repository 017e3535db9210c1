"""A name server of the test's own, in the host's network namespace: it answers as it is told to, or lies."""

import socket
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from podflare_nb.provisioning.network import namespaces

from .internet import NAMESERVER, SECONDS


class LyingNameServer:
    """``answers``: (name, type) -> texts, or a list of such that is used up one by one; the last stays.

    ``asked``: what came, in order. UDP and TCP; a name in ``only_tcp`` is cut off on UDP. A name in ``silent`` gets no
    answer at all.
    """

    def __init__(self, world):
        self.answers, self.asked, self.only_tcp, self.silent = {}, [], set(), set()
        self.additional = []
        self._udp = namespaces.open_socket(world.host, socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = namespaces.open_socket(world.host, socket.AF_INET, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock in (self._udp, self._tcp):
            sock.settimeout(None)
            sock.bind((NAMESERVER, 53))
        self._tcp.listen()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def _serve_udp(self):
        while True:
            wire, sender = self._udp.recvfrom(4096)
            if not wire:
                return
            answer = self._answer(wire, udp=True)
            if answer is not None:
                self._udp.sendto(answer, sender)

    def _serve_tcp(self):
        while True:
            try:
                sock, _ = self._tcp.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(SECONDS)
                size = int.from_bytes(sock.recv(2), "big")
                answer = self._answer(sock.recv(size), udp=False)
                sock.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, wire, *, udp):
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if name in self.silent:
            return None
        response = dns.message.make_response(query, recursion_available=True)
        if udp and name in self.only_tcp:
            response.flags |= dns.flags.TC
            return response.to_wire()
        texts = self.answers.get((name, kind))
        if texts and isinstance(texts[0], list):
            texts = texts.pop(0) if len(texts) > 1 else texts[0]
        if texts:
            response.answer.append(dns.rrset.from_text(question.name, 300, "IN", kind, *texts))
            response.additional.extend(self.additional)
        elif not any(known == name for known, _ in self.answers):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire(max_size=65535)

    def close(self):
        self._udp.sendto(b"", self._udp.getsockname())
        self._threads[0].join(SECONDS)
        self._tcp.shutdown(socket.SHUT_RDWR)
        self._threads[1].join(SECONDS)
        self._udp.close()
        self._tcp.close()
