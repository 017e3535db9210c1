"""What tests serve from inside of a sandbox: an application that tells what it was asked, and one that says any bytes.

Runs in the sandbox with what its template has: tornado, which every ipykernel has.
"""

import asyncio
import base64
import hashlib
import sys

from tornado import iostream, web, websocket

MIB = 1 << 20


@web.stream_request_body
class Echo(web.RequestHandler):
    """Tells the request; its body as a length and a hash."""

    SUPPORTED_METHODS = (*web.RequestHandler.SUPPORTED_METHODS, "PROPFIND")

    def prepare(self):
        self.length, self.hash = 0, hashlib.sha256()
        self.request.connection.set_max_body_size(1 << 40)

    def data_received(self, chunk):
        self.length += len(chunk)
        self.hash.update(chunk)

    def get(self):
        self.write({
            "method": self.request.method,
            "uri": self.request.uri,
            "headers": list(self.request.headers.get_all()),
            "length": self.length,
            "sha256": self.hash.hexdigest(),
        })  # fmt: skip

    post = put = patch = delete = options = propfind = get


@web.stream_request_body
class Mirror(web.RequestHandler):
    """Says each piece of the body as soon as it has come."""

    def prepare(self):
        self.request.connection.set_max_body_size(1 << 40)

    async def data_received(self, chunk):
        self.write(chunk)
        await self.flush()

    def post(self):
        pass


class Download(web.RequestHandler):
    async def get(self):
        mebibytes = int(self.get_query_argument("mib"))
        if self.get_query_argument("length", ""):
            self.set_header("Content-Length", str(mebibytes * MIB))
        for _ in range(mebibytes):
            self.write(b"x" * MIB)
            await self.flush()


class Events(web.RequestHandler):
    """Server-sent events: each next one when ``/events/next`` was asked for."""

    waiting: asyncio.Queue = None

    async def get(self):
        Events.waiting = Events.waiting or asyncio.Queue()
        self.set_header("Content-Type", "text/event-stream")
        self.write("data: 0\n\n")
        await self.flush()
        while (word := await Events.waiting.get()) != "end":
            self.write(f"data: {word}\n\n")
            await self.flush()

    async def post(self):
        Events.waiting.put_nowait(self.get_query_argument("say"))


class Headers(web.RequestHandler):
    """Answers with the status and headers that the query says."""

    def get(self):
        self.set_status(int(self.get_query_argument("status", "200")))
        self.clear_header("Content-Type")
        for pair in self.get_query_arguments("header"):
            name, _, value = pair.partition(":")
            self.add_header(name, value)
        if self.get_status() not in {204, 304}:
            self.write("said")

    head = get


class Socket(websocket.WebSocketHandler):
    """Echoes; tells its headers when asked; closes with the code that it is told."""

    def select_subprotocol(self, subprotocols):
        return "second" if "second" in subprotocols else None

    async def on_message(self, message):
        if message == "headers":
            await self.write_message({"headers": list(self.request.headers.get_all())})
        elif message == "pinged?":
            await self.write_message(str(self.pinged))
        elif isinstance(message, str) and message.startswith("flood "):
            for _ in range(int(message.split()[1])):
                await self.write_message(b"y" * MIB, binary=True)
        elif isinstance(message, str) and message.startswith("close "):
            self.close(int(message.split()[1]), "as told")
        else:
            await self.write_message(message, binary=isinstance(message, bytes))

    pinged = 0

    def on_ping(self, _data):
        self.pinged += 1


class Page(web.RequestHandler):
    """Any page: its source is in the query."""

    def get(self):
        self.set_header("Content-Type", self.get_query_argument("type", "text/html; charset=utf-8"))
        self.write(self.get_query_argument("source"))


async def say_any_bytes(reader, writer):
    """The path of the request is what is answered, in base64; or silence, or a head without an end."""
    try:
        path = (await reader.readline()).split()[1].strip(b"/")
        while (await reader.readline()).strip():
            pass
        if path == b"silence":
            await reader.read()
        elif path == b"endless-head":
            writer.write(b"HTTP/1.1 200 OK\r\nX: " + b"y" * MIB)
            await writer.drain()
        else:
            writer.write(base64.urlsafe_b64decode(path))
            await writer.drain()
    except (ConnectionError, iostream.StreamClosedError):
        pass
    finally:
        writer.close()


async def main(port):
    web.Application([
        (r"/echo.*", Echo), (r"/mirror", Mirror), (r"/download", Download), (r"/events", Events),
        (r"/headers", Headers), (r"/socket", Socket), (r"/page", Page),
    ], websocket_max_message_size=64 * MIB).listen(port, "127.0.0.1")  # fmt: skip
    await asyncio.start_server(say_any_bytes, "::1", port + 1)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
