"""A local HTTP server that speaks three providers' protocols from a script, for their real SDKs.

Anthropic Messages at ``/v1/messages``, OpenAI Responses at ``/v1/responses``, Chat Completions at
``/v1/chat/completions``, each as a stream where the request asks for one and else as one answer. Each request
takes the next reply of the script and is kept in ``requests``. ``provider_in_thread`` serves clients that block.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import tornado.httpserver
import tornado.iostream
import tornado.netutil
import tornado.web


@dataclass
class Call:
    name: str
    arguments: dict[str, Any]
    id: str


@dataclass
class Reply:
    """``pieces`` are the text's deltas. ``cut``: the connection breaks after the text."""

    pieces: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    status: int = 200
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    garbage: bool = False
    hold: asyncio.Event | None = None
    """Waits for it before the first byte."""
    usage: tuple[int, int] = (100, 20)
    stop: str | None = None
    """Anthropic's stop_reason, where it is not the usual one."""
    blocks: list[dict[str, Any]] = field(default_factory=list)
    """Whole content blocks of Anthropic's, between the text and the calls."""


def says(*pieces: str, **rest: Any) -> Reply:
    return Reply(list(pieces), **rest)


def runs(code: str, *, say: str = "", call_id: str = "call_1", **arguments: Any) -> Reply:
    return calls("run_code", say=say, call_id=call_id, code=code, **arguments)


def calls(name: str, *, say: str = "", call_id: str = "call_1", **arguments: Any) -> Reply:
    return Reply([say] if say else [], [Call(name, arguments, call_id)])


class ProviderServer:
    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.asked = asyncio.Event()
        application = tornado.web.Application(
            [
                ("/v1/messages", Endpoint, {"server": self, "events": anthropic_events, "whole": anthropic_whole}),
                ("/v1/responses", Endpoint, {"server": self, "events": responses_events, "whole": responses_whole}),
                ("/v1/chat/completions", Endpoint, {"server": self, "events": chat_events, "whole": chat_whole}),
            ]
        )
        [sock] = tornado.netutil.bind_sockets(0, "127.0.0.1")
        self.port = sock.getsockname()[1]
        self._http = tornado.httpserver.HTTPServer(application)
        self._http.add_socket(sock)

    def will(self, *replies: Reply) -> None:
        self.script += replies

    def env(self, provider: str) -> dict[str, str]:
        """What the service's environment says, so that the real SDK talks to this server."""
        if provider == "anthropic":
            return {"ANTHROPIC_API_KEY": "sk-test-1", "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{self.port}"}
        url = f"http://127.0.0.1:{self.port}/v1"
        return {"OPENAI_API_KEY": "sk-test-1", "OPENAI_BASE_URL": url, "PODFLARE_NB_MODEL_SEES_IMAGES": "1"}

    async def close(self) -> None:
        self._http.stop()
        await self._http.close_all_connections()


class Endpoint(tornado.web.RequestHandler):
    def initialize(self, server: ProviderServer, events: Any, whole: Any) -> None:
        self.server = server
        self.events = events
        self.whole = whole

    async def post(self) -> None:
        server = self.server
        server.requests.append(json.loads(self.request.body))
        server.paths.append(self.request.path)
        server.headers.append(dict(self.request.headers))
        server.asked.set()
        reply = server.script.pop(0) if server.script else Reply(status=500, body={"error": "no reply is left"})
        if reply.hold is not None:
            await reply.hold.wait()
        for name, value in reply.headers.items():
            self.set_header(name, value)
        if reply.status != 200:
            self.set_status(reply.status)
            self.finish(reply.body or {"error": {"message": "refused"}})
            return
        if not server.requests[-1].get("stream"):
            self.finish(self.whole(list(self.events(reply))))
            return
        self.set_header("Content-Type", "text/event-stream")
        try:
            for event in self.events(reply):
                self.write(b"data: {not json\n\n" if reply.garbage else sse(event))
                await self.flush()
                if reply.garbage:
                    return
        except tornado.iostream.StreamClosedError:
            return
        if reply.cut:
            self.request.connection.stream.close()


def sse(event: dict[str, Any] | str) -> bytes:
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def anthropic_events(reply: Reply) -> Any:
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": reply.usage[0], "output_tokens": 1},
    }  # fmt: skip
    yield {"type": "message_start", "message": message}
    index = 0
    if reply.pieces:
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        for piece in reply.pieces:
            delta = {"type": "text_delta", "text": piece}
            yield {"type": "content_block_delta", "index": 0, "delta": delta}
        if reply.cut:
            return
        yield {"type": "content_block_stop", "index": 0}
        index = 1
    for block in reply.blocks:
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_stop", "index": index}
        index += 1
    for call in reply.calls:
        block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for part in halves(json.dumps(call.arguments)):
            delta = {"type": "input_json_delta", "partial_json": part}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
        index += 1
    stop = {"stop_reason": reply.stop or ("tool_use" if reply.calls else "end_turn"), "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": reply.usage[1]}}
    yield {"type": "message_stop"}


def anthropic_whole(events: list[dict[str, Any]]) -> dict[str, Any]:
    message, texts = dict(events[0]["message"]), {}
    message["content"] = []
    for event in events[1:]:
        if event["type"] == "content_block_start":
            message["content"].append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            [part] = [value for name, value in event["delta"].items() if name != "type"]
            texts[event["index"]] = texts.get(event["index"], "") + part
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] = message["usage"] | event["usage"]
    for index, text in texts.items():
        block = message["content"][index]
        block |= {"text": text} if block["type"] == "text" else {"input": json.loads(text)}
    return message


def responses_whole(events: list[dict[str, Any]]) -> dict[str, Any]:
    return events[-1]["response"]


def responses_events(reply: Reply) -> Any:
    response = {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-test", "output": [],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "status": "in_progress",
    }  # fmt: skip
    numbers = iter(range(10_000))

    def event(type_: str, **rest: Any) -> dict[str, Any]:
        return {"type": type_, "sequence_number": next(numbers), **rest}

    yield event("response.created", response=response)
    done: list[dict[str, Any]] = []
    if reply.pieces:
        item = {"id": "m1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        yield event("response.output_item.added", output_index=0, item=item)
        place = {"item_id": "m1", "output_index": 0, "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": []}
        yield event("response.content_part.added", **place, part=part)
        for piece in reply.pieces:
            yield event("response.output_text.delta", **place, delta=piece, logprobs=[])
        if reply.cut:
            return
        text = "".join(reply.pieces)
        yield event("response.output_text.done", **place, text=text, logprobs=[])
        item = {**item, "status": "completed", "content": [{**part, "text": text}]}
        yield event("response.output_item.done", output_index=0, item=item)
        done.append(item)
    for call in reply.calls:
        index, item_id = len(done), f"f{len(done)}"
        item = {
            "id": item_id, "type": "function_call", "call_id": call.id, "name": call.name,
            "arguments": "", "status": "in_progress",
        }  # fmt: skip
        yield event("response.output_item.added", output_index=index, item=item)
        arguments = json.dumps(call.arguments)
        for part in halves(arguments):
            yield event("response.function_call_arguments.delta", item_id=item_id, output_index=index, delta=part)
        yield event(
            "response.function_call_arguments.done",
            item_id=item_id, output_index=index, arguments=arguments, name=call.name,
        )  # fmt: skip
        item = {**item, "status": "completed", "arguments": arguments}
        yield event("response.output_item.done", output_index=index, item=item)
        done.append(item)
    usage = {
        "input_tokens": reply.usage[0], "output_tokens": reply.usage[1], "total_tokens": sum(reply.usage),
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    yield event("response.completed", response={**response, "status": "completed", "output": done, "usage": usage})


def chat_events(reply: Reply) -> Any:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "test", "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    for piece in reply.pieces:
        yield chunk({"content": piece})
    if reply.cut:
        return
    for index, call in enumerate(reply.calls):
        head = {"index": index, "id": call.id, "type": "function"}
        yield chunk({"tool_calls": [{**head, "function": {"name": call.name, "arguments": ""}}]})
        for part in halves(json.dumps(call.arguments)):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, "tool_calls" if reply.calls else "stop")
    total = sum(reply.usage)
    yield {
        "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "test", "choices": [],
        "usage": {"prompt_tokens": reply.usage[0], "completion_tokens": reply.usage[1], "total_tokens": total},
    }  # fmt: skip
    yield "[DONE]"


def chat_whole(events: list[Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": None, "logprobs": None}
    answer = {**events[0], "object": "chat.completion", "choices": [choice]}
    for event in events[:-1]:
        answer["usage"] = event.get("usage")
        for piece in event["choices"]:
            choice["finish_reason"] = piece["finish_reason"] or choice["finish_reason"]
            delta = piece["delta"]
            if delta.get("content"):
                message["content"] = (message["content"] or "") + delta["content"]
            for part in delta.get("tool_calls", ()):
                known = message.setdefault("tool_calls", [])
                if part["index"] == len(known):
                    known.append({"id": part["id"], "type": "function", "function": dict(part["function"])})
                else:
                    known[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    return answer


@contextmanager
def provider_in_thread() -> Iterator[ProviderServer]:
    """A server on a loop of its own, for tests whose client blocks. Its script may be filled from the test."""
    ready: list[ProviderServer] = []
    started = threading.Event()

    async def serve() -> None:
        server = ProviderServer()
        server.loop, server.over = asyncio.get_running_loop(), asyncio.Event()
        ready.append(server)
        started.set()
        await server.over.wait()
        await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="provider")
    thread.start()
    assert started.wait(60)
    [server] = ready
    try:
        yield server
    finally:
        server.loop.call_soon_threadsafe(server.over.set)
        thread.join(60)
        assert not thread.is_alive()


def halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [text[:middle], text[middle:]]
