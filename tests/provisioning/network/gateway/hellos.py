"""ClientHellos as OpenSSL makes them, and cut up as nobody does."""

import ssl


def client_hello(name=None):
    """The record that a TLS client begins with. ``name`` None: without a server name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs an answer")


def in_records(record, size):
    """The same message in records of ``size`` bytes each."""
    head, message = record[:3], record[5:]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(head + len(part).to_bytes(2, "big") + part for part in parts)
