"""``podflare-nb chat``: a conversation with a sandbox in the terminal, code and outputs as they come.

A client of the chat endpoint; ``turn_printer`` turns its events into text. Ctrl-C cancels the turn, not the program.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Literal

import typer

from ..errors import PodflareError
from . import options
from .api import Api
from .branch_commands import BranchCommands
from .turn_printer import TurnPrinter

QUIT = frozenset({"/quit", "/exit", "/q"})
FENCE = "```"


def chat(  # noqa: PLR0913, PLR0917 - one parameter per option
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", help="Send this one message, print the turn, exit.", show_default=False),
    ] = None,
    sandbox: Annotated[
        str | None, typer.Option(help="Talk to this sandbox instead of a new one.", show_default=False)
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Make the new sandbox from this template.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="direct, or provider:name as in anthropic:claude-...", show_default=False)
    ] = None,
    approve: Annotated[Literal["auto", "ask"], typer.Option(help="ask: have every run of code confirmed.")] = "auto",
    checkpoints: Annotated[
        int | None,
        typer.Option(min=0, max=100, help="Of a new sandbox: keep the state after so many turns, for /rewind."),
    ] = None,
    egress: options.Egress = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave a new sandbox open at the end.")] = False,  # noqa: FBT002 - a flag
    url: options.Url = None,
    key: options.Key = None,
    data_dir: options.DataDir = None,
) -> int:
    """Talk to a sandbox; without a model key, what you type is run as Python.

    Example: podflare-nb chat -m "print(6*7)"
    """
    settings = {"model": model, "approve": approve}
    with Api.of(url, key, data_dir) as api:
        new = sandbox is None
        wanted = {"template": template, "checkpoints": checkpoints, "egress": options.egress_body(egress)}
        chosen = sandbox or api.call("POST", "sandboxes", wanted)["id"]
        conversation = Conversation(api, chosen, {name: value for name, value in settings.items() if value})
        try:
            if message is not None:
                return 0 if conversation.say(message) == "ok" else 1
            repl(conversation)
        finally:
            if new and not keep:
                conversation.close()
    typer.echo(f"The notebook: podflare-nb export {conversation.branches.sandbox}")
    return 0


class Conversation:
    """The turns with one sandbox, or with several branches of it. ``settings`` go with every message."""

    def __init__(self, api: Api, sandbox: str, settings: dict[str, str]) -> None:
        self._api = api
        self.branches = BranchCommands(api, sandbox)
        self._settings = settings
        self.title = f"{sandbox} at {api.url}"

    def say(self, message: str) -> str:
        """Send a message and print the turn; gives how it ended (ok, error, cancelled, limit)."""
        printer = TurnPrinter(sys.stdout)
        path = f"sandboxes/{self.branches.sandbox}/chat"
        turn_id = ""

        def cancel() -> None:
            with suppress(PodflareError):
                self._api.call("POST", f"{path}/{turn_id}/cancel")

        with self._api.events("POST", path, {"message": message, **self._settings}) as events, interrupting(cancel):
            for event in events:
                if event["type"] == "turn-start":
                    turn_id = event["data"]["turn_id"]
                printer.show(event)
                if event["type"] == "approval-request":
                    self._approve(f"{path}/{turn_id}/approve", event["data"])
        return printer.finish()

    def close(self) -> None:
        """End the sandbox and its branches. What the service refuses here, it has ended before."""
        ends = [self.branches.sandbox]
        with suppress(PodflareError):
            ends = self.branches.live()
        for sandbox in ends:
            with suppress(PodflareError):
                self._api.call("DELETE", f"sandboxes/{sandbox}")

    def _approve(self, path: str, request: dict[str, Any]) -> None:
        answer = typer.confirm("Run this?", default=True)
        self._api.call("POST", path, {"tool_call_id": request["tool_call_id"], "approved": answer})


def repl(conversation: Conversation) -> None:
    """Read messages until the end of input or /quit."""
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - its import gives input() history and editing, where there is one
    typer.echo(f"{conversation.title}. Ctrl-C cancels a turn, Ctrl-D ends, /help tells more.")
    for message in messages(input):
        try:
            if not conversation.branches.run(message):
                conversation.say(message)
        except PodflareError as error:
            typer.secho(error.message, fg=typer.colors.RED, err=True)


def messages(read: Callable[[str], str]) -> Iterator[str]:
    """Give what a person types, message by message; a message with an open fence goes on until it is closed."""
    while True:
        try:
            text = read("> ")
            while text.count(FENCE) % 2:
                text += "\n" + read(". ")
        except KeyboardInterrupt:
            typer.echo()
            continue
        except EOFError:
            typer.echo()
            return
        if text.strip() in QUIT:
            return
        if text.strip():
            yield text


@contextmanager
def interrupting(cancel: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C call ``cancel`` (in a thread: this one waits for events), the second one interrupt."""

    def on_interrupt(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        threading.Thread(target=cancel, daemon=True).start()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
