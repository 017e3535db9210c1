"""Bytes to messages and back, against libzmq, and against a peer that wants to do harm."""

import asyncio
import socket

import pytest
import zmq

from podflare_nb.sandboxes import zmtp

from .conftest import SECONDS

GREETED = zmtp.GREETING + zmtp.ready_command(b"ROUTER")


def decoder(max_bytes: int = 1000) -> zmtp.Decoder:
    made = zmtp.Decoder(max_bytes)
    made.feed(GREETED)
    return made


def pour(made: zmtp.Decoder, data: bytes, step: int) -> list[zmtp.Message]:
    """Give it data as a socket would, ``step`` bytes at a time."""
    out = []
    while data:
        room = made.room
        if room is None:
            part, data = data[:step], data[step:]
            out += made.feed(part)
        else:
            count = min(step, len(room), len(data))
            room[:count] = data[:count]
            data = data[count:]
            out += made.filled(count)
    return out


@pytest.mark.parametrize("step", [1, 2, 7, 100, 10**6])
def test_messages_come_out_as_they_went_in_however_they_are_cut(step):
    messages = [[b"a"], [b"", b"b" * 255, b"c" * 256], [b"d" * 200_000, b"e"]]
    data = b"".join(zmtp.encode(message) for message in messages)
    out = pour(decoder(10**6), data if step > 1 else data[:700], step)
    assert [[bytes(f) for f in frames] for frames, _ in out] == (messages if step > 1 else messages[:2])


def test_the_greeting_may_come_in_pieces():
    made = zmtp.Decoder(1000)
    for byte in GREETED:
        made.feed(bytes((byte,)))
    assert made.greeted
    assert made.feed(zmtp.encode([b"x"])) == [([b"x"], 0)]


def test_a_peer_with_another_protocol_is_refused():
    with pytest.raises(zmtp.ProtocolError):
        zmtp.Decoder(1000).feed(b"HTTP/1.1 200 OK\r\n" * 10)


def test_an_error_command_is_refused():
    with pytest.raises(zmtp.ProtocolError):
        decoder().feed(b"\x04\x07\x05ERROR\x00")


def test_a_message_over_the_bound_is_skipped_and_the_next_one_comes():
    data = zmtp.encode([b"head", b"x" * 500_000, b"tail"]) + zmtp.encode([b"next"])
    out = pour(decoder(1000), data, 65536)
    assert out == [([b"head", b"", b"tail"], 500_000), ([b"next"], 0)]


def test_the_bound_is_for_all_parts_together():
    out = pour(decoder(1000), zmtp.encode([b"x" * 400] * 10), 4096)
    assert out[0][1] == 3200
    assert sum(len(frame) for frame in out[0][0]) == 800


def test_endless_parts_are_not_kept():
    made = decoder(1000)
    for _ in range(10_000):
        assert made.feed(b"\x01\x00" * 100) == []
    assert len(made.feed(b"\x00\x00")[0][0]) == zmtp.MAX_FRAMES


def test_a_frame_that_claims_to_be_huge_takes_no_memory():
    made = decoder(1000)
    made.feed(b"\x02" + (2**62).to_bytes(8, "big") + b"begin")
    assert len(made.room) <= 256 * 1024


async def connected(socket_type: bytes, path: str):
    """A connection, a future for each batch of messages, and one for its loss."""
    loop = asyncio.get_running_loop()
    opened, lost, batches = loop.create_future(), loop.create_future(), asyncio.Queue()
    sock = zmtp.ZmtpSocket(
        socket_type, max_message_bytes=1 << 20,
        on_open=lambda: opened.set_result(None), on_messages=batches.put_nowait, on_lost=lost.set_result,
    )  # fmt: skip
    sock.connect(path)
    return sock, opened, batches, lost


async def test_it_speaks_with_libzmq_as_dealer(tmp_path):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.linger = 0
        router.bind(f"ipc://{tmp_path}/r")
        sock, opened, batches, lost = await connected(b"DEALER", f"{tmp_path}/r")
        await asyncio.wait_for(opened, SECONDS)
        sock.send([b"hello", b"y" * 300_000])
        identity, *frames = await asyncio.to_thread(router.recv_multipart)
        assert frames == [b"hello", b"y" * 300_000]
        router.send_multipart([identity, b"back", b"z" * 300_000])
        assert (await asyncio.wait_for(batches.get(), SECONDS))[0][0] == [b"back", b"z" * 300_000]
        router.close()
        assert "closed" in await asyncio.wait_for(lost, SECONDS)
        sock.close()


async def test_it_speaks_with_libzmq_as_subscriber(tmp_path):
    with zmq.Context() as context, context.socket(zmq.XPUB) as pub:
        pub.linger = 0
        pub.bind(f"ipc://{tmp_path}/p")
        sock, opened, batches, _ = await connected(b"SUB", f"{tmp_path}/p")
        await asyncio.wait_for(opened, SECONDS)
        sock.send_bytes(zmtp.SUBSCRIBE_ALL)
        assert await asyncio.to_thread(pub.recv) == b"\x01"
        pub.send_multipart([b"topic", b"said"])
        assert await asyncio.wait_for(batches.get(), SECONDS) == [([b"topic", b"said"], 0)]
        sock.close()


async def test_a_socket_that_is_not_there_raises_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        await connected(b"SUB", f"{tmp_path}/none")


async def test_what_a_slow_peer_does_not_take_is_sent_later(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{tmp_path}/s")
    listener.listen()
    sock, *_ = await connected(b"DEALER", f"{tmp_path}/s")
    peer, _ = listener.accept()
    big = b"q" * (4 << 20)
    sock.send([big])
    sock.send([b"after"])

    def read() -> bytes:
        wanted, got = len(GREETED) + len(big) + 9 + 7, b""
        while len(got) < wanted:
            got += peer.recv(1 << 20)
        return got

    got = await asyncio.wait_for(asyncio.to_thread(read), SECONDS)
    assert got.endswith(zmtp.encode([big]) + zmtp.encode([b"after"]))
    sock.close()
    peer.close()
    listener.close()
