# mypy: disable-error-code="no-untyped-call, union-attr, no-any-return"
# (ipykernel is typed in part: its methods are not, and what a kernel always has is Optional.)
"""All that touches ipykernel's internals: its application, kernel and publishing thread, made forkable and quick.

A template builds one ``TemplateApp`` without sockets, threads or an event loop; ``connect`` plugs it into a
``Transport`` in the process that is to serve. Between them, compared with ipykernel as it comes: no thread for the
shell channel, none for iopub, none for each standard stream, no sleep per execution, no hop on the way to a client
(forkable-kernels.md measured what each costs). ``SEAMS`` names every attribute of ipykernel and IPython that is
overridden or relied upon beyond their documentation; a test fails when a release moves one. ``cells``, ``shell`` and
``streams`` hold the parts that have a subject of their own.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, copy_context
from typing import Any

import zmq
from ipykernel.displayhook import ZMQDisplayHook
from ipykernel.iostream import BackgroundSocket, IOPubThread
from ipykernel.kernelapp import IPKernelApp
from IPython.core.profiledir import ProfileDir
from tornado.ioloop import IOLoop
from traitlets import Type
from zmq.eventloop.zmqstream import ZMQStream

from .cells import COMM_MESSAGES, CellKernel
from .descriptors import Held
from .outbox import Outbox
from .session import MAX_DISPLAY_BYTES, KernelSession
from .streams import KernelStream
from .transport import SHELL_INPROC, Publishing, Transport

LOOKS_INTO_STATE = ("complete_request", "inspect_request")
"""Requests other than executions that may run code of the user's, by looking at objects."""
_Socket = socket.socket  # the user may put something else in its place
SEAMS: dict[str, str] = {
    "ipykernel.kernelapp:IPKernelApp": """
        init_blackhole init_code init_connection_file init_extensions init_gui_pylab init_heartbeat init_io init_kernel
        init_path init_pdb init_poller init_shell init_signal init_sockets log_connection_info patch_io init_profile_dir
        configure_tornado_logger write_connection_file init_config_files load_config_file _run_startup_files""",
    "ipykernel.ipkernel:IPythonKernel": """
        do_execute do_complete do_inspect do_debug_request dispatch_debugpy poll_stopped_queue start _forward_input
        _restore_input""",
    "ipykernel.kernelbase:Kernel": """
        _abort_queues _aborting _execute_sleep _main_asyncio_lock _control_lock _publish_status _publish_execute_input
        dispatch_control shell_main _supports_kernel_subshells pre_handler_hook post_handler_hook kernel_info _topic
        shutdown_request should_handle _send_abort_reply""",
    "ipykernel.iostream:IOPubThread": "send_multipart schedule background_socket start stop close closed",
    "ipykernel.iostream:OutStream": "write flush close fileno parent_header set_parent _parent_header_global",
    "ipykernel.zmqshell:ZMQInteractiveShell": """
        system_piped _showtraceback _last_traceback _last_traceback_during_displayhook init_environment init_magics""",
    "IPython.core.interactiveshell:InteractiveShell": """
        run_cell_async transform_cell should_run_async loop_runner showtraceback user_expressions
        payload_manager _tee db""",
    "ipykernel.debugger:Debugger": "process_request shell_socket debugpy_client",
}


class Publisher(IOPubThread):
    """An IOPubThread by type, without the thread: messages go to the outbox in the thread that makes them."""

    def __init__(self, session: KernelSession, outbox: Outbox) -> None:
        # Not IOPubThread's __init__: it makes sockets and a loop.
        self.session = session
        self.outbox = outbox
        self.before: Callable[[], None] = _nothing
        """Called ahead of each message: what was written to the descriptors until now goes first."""
        self.socket = None
        self.thread: Any = None
        self.background_socket = BackgroundSocket(self)

    def send_multipart(self, msg: Sequence[Any], *_args: Any, **_kwargs: Any) -> None:
        """Publish one message."""
        self.before()
        self.outbox.publish([part if type(part) is bytes else bytes(part) for part in msg])

    def schedule(self, f: Callable[[], Any]) -> None:
        """Call now: no thread of its own."""
        f()

    def _without_thread(self) -> None:
        """Nothing to start or to end."""

    start = stop = close = _without_thread

    @property
    def closed(self) -> bool:
        """Never."""
        return False


class ForkedKernel(CellKernel):
    """The kernel with its connection: ``transport`` is there once the process serves."""

    transport: Transport
    _refusing = False

    def connect(self, transport: Transport) -> None:
        """Serve on a transport; the event loop that is current will run."""
        self.transport = transport
        self.ident = str(uuid.uuid4())
        self.shell.displayhook.topic = self._topic("execute_result")
        self.shell_stream = transport.shell
        self.control_thread = transport.service
        self.control_stream = ZMQStream(transport.control_socket, transport.service.io_loop)
        self.stdin_socket = transport.stdin_socket
        self.debugpy_stream = None
        self._main_asyncio_lock = asyncio.Lock()
        self.start()

    def disconnect(self) -> None:
        """Serve nobody; nothing is under way."""
        self.shell_stream = self.control_stream = self.control_thread = self.stdin_socket = None
        self.io_loop = self.debugpy_stream = None  # type: ignore[assignment]  # as before the first connection
        self._control_lock, self._main_asyncio_lock = asyncio.Lock(), asyncio.Lock()
        self._aborting = False  # of requests that were queued behind an error, where they were
        self.interrupts.reset()

    def start(self) -> None:
        """As ipykernel's, without its debugger, which starts with the first request to it."""
        self.io_loop = IOLoop.current()
        self._control_lock = asyncio.Lock()
        self.interrupts.install()
        self.control_stream.on_recv(self.dispatch_control, copy=False)
        self.transport.loop.call_soon(self._publish_status, "starting", "shell")
        self.shell_stream.serve(lambda message: self.shell_main(None, message), self._is_comm, self._stop_aborting)

    def _is_comm(self, message: list[Any]) -> bool:
        """A comm message need not wait for a cell that awaits (it may await just that)."""
        try:
            _, frames = self.session.feed_identities(message, copy=False)
            header = self.session.deserialize(frames, content=False, copy=False)["header"]
        except (ValueError, TypeError, KeyError):
            return False  # whoever handles it in its turn tells what is wrong with it
        return header["msg_type"] in COMM_MESSAGES

    def _abort_queues(self, subshell_id: str | None = None) -> None:  # noqa: ARG002  # ipykernel's signature
        self._aborting = True  # until the mark that do_execute left

    def refuse_code(self) -> None:
        """Run no more of the user's: requests that would are answered as aborted, comm messages are not handled."""
        self._aborting = self._refusing = True

    def should_handle(self, stream: Any, msg: dict[str, Any], idents: list[bytes]) -> bool:
        """As ipykernel's; executions never get here while they are aborted."""
        kind = msg["header"]["msg_type"]
        if self._refusing and kind in LOOKS_INTO_STATE:
            self._send_abort_reply(stream, msg, idents)
        return not (self._refusing and kind in (*LOOKS_INTO_STATE, *COMM_MESSAGES))

    def _stop_aborting(self) -> None:
        self._aborting = False

    def pre_handler_hook(self) -> None:
        """SIGINT is ours, whatever the last cell made of it."""
        self.interrupts.install()

    def post_handler_hook(self) -> None:
        """What a request made C code or a child print belongs before its idle."""
        self.mend_streams()
        self.transport.capture.settle()
        self.interrupts.install()

    @property
    def kernel_info(self) -> dict[str, Any]:
        """As ipykernel's; the debugger is offered where it can work."""
        info = super().kernel_info
        if not _loopback_works():
            info["supported_features"] = [name for name in info["supported_features"] if name != "debugger"]
        return info

    async def do_debug_request(self, msg: dict[str, Any]) -> dict[str, Any] | None:
        """Start the debugger's connections with the first request to it; no other kernel pays for them."""
        if self.debugpy_stream is None and hasattr(self, "debugger"):
            context, loop = self.transport.context, self.transport.service.io_loop
            self.debugpy_stream = ZMQStream(context.socket(zmq.STREAM, socket_class=zmq.Socket), loop)
            self.debugpy_stream.on_recv(self.dispatch_debugpy, copy=False)
            shell = context.socket(zmq.DEALER, socket_class=zmq.Socket)
            shell.connect(SHELL_INPROC)
            self.debugger.shell_socket = shell
            self.debugger.debugpy_client.debugpy_stream = self.debugpy_stream
            self._stopped_queue = asyncio.ensure_future(self.poll_stopped_queue())
        return await super().do_debug_request(msg)


class TemplateApp(IPKernelApp):
    """The application, built once in the template. ``profile``: a directory for the time of building only."""

    kernel_class = Type(ForkedKernel)
    transport: Transport | None = None

    def __init__(self, profile: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outbox = Outbox(self._stream_message)
        self.session = KernelSession(self._refused, parent=self)
        self._profile = profile
        self._cells: Context | None = None
        self.config.HistoryManager.hist_file = ":memory:"
        warnings.filterwarnings("ignore", "To exit: use 'exit'", UserWarning)  # SystemExit ends the cell
        self.config.InteractiveShellApp.ignore_cwd = True

    def init_profile_dir(self) -> None:
        """A directory that nothing is read from."""
        self.profile_dir = ProfileDir.create_profile_dir(self._profile, self.config)

    def _left_out(self, *_args: Any, **_kwargs: Any) -> None:
        """Files of a user or a machine that would make kernels differ, and what only a serving process has."""

    init_config_files = load_config_file = _run_startup_files = _left_out
    init_connection_file = write_connection_file = log_connection_info = init_poller = _left_out
    init_sockets = init_heartbeat = init_signal = init_path = _left_out

    def init_io(self) -> None:
        """Streams and display hook, which publish nowhere yet."""
        self.configure_tornado_logger()
        self.iopub_thread = Publisher(self.session, self.outbox)
        self.iopub_socket = self.iopub_thread.background_socket
        self._streams = [KernelStream(fd, self.session, self.iopub_thread, self.outbox) for fd in (1, 2)]
        sys.stdout, sys.stderr = self._streams
        self.displayhook = sys.displayhook = ZMQDisplayHook(self.session, self.iopub_socket)
        self.patch_io()

    def init_kernel(self) -> None:
        """The kernel and its shell, without streams."""
        self.log.setLevel(self.log_level)  # traitlets lets debug records be made, for its handler to drop
        self.kernel = ForkedKernel.instance(
            parent=self,
            session=self.session,
            iopub_thread=self.iopub_thread,
            iopub_socket=self.iopub_socket,
            log=self.log,
            profile_dir=self.profile_dir,
            user_ns=self.user_ns,
        )
        self.kernel.streams = self._streams
        self.displayhook.get_execution_count = lambda: self.kernel.execution_count

    def connect(self, listeners: Mapping[str, int], key: bytes, held: Held | None = None) -> Transport:
        """Serve on listening descriptors, from the transport's ``start`` on; the event loop that is current will run.

        ``held``: as for a ``Transport``.
        """
        self.session.renew(key)
        publishing = Publishing(self.outbox, self._welcome_message, self._captured)
        cells, self._cells = self._cells or copy_context(), None
        self.transport = transport = Transport(listeners, publishing, self.kernel.interrupts, cells, held)
        self.context = transport.context
        self.control_thread = self.iopub_thread.thread = transport.service
        self.iopub_thread.before = transport.take_output
        for stream in self._streams:  # the user may have put others in their places, which lead to these
            stream.connect(transport.capture)
        self.kernel.connect(transport)
        return transport

    def disconnect(self) -> None:
        """Take the transport down; the process is a template again. The loop that was current is closed."""
        if self.transport is None:
            return
        self.transport.dismantle()
        self._unplug()

    def abandon(self) -> None:
        """In a forked child of a live kernel: forget the parent's connection. What its cells have set in their context
        (numpy's error and print settings, decimal's context) is the child's, too."""
        if self.transport is not None:
            self._cells = self.transport.shell.context
            self.transport.abandon()
            self._unplug()

    def _unplug(self) -> None:
        self.outbox.connect(None, _nothing)
        self.iopub_thread.before = _nothing
        self.kernel.disconnect()
        self.transport = self.context = self.control_thread = self.iopub_thread.thread = None
        for stream in self._streams:
            stream.connect(None)

    def _stream_message(self, stream: str, parent: dict[str, Any], text: str) -> Sequence[bytes]:
        message = self.session.msg("stream", {"name": stream, "text": text}, parent=parent)
        return self.session.serialize(message, ident=f"stream.{stream}".encode())

    def _welcome_message(self, topic: bytes) -> Sequence[bytes]:
        content = {"subscription": topic.decode("utf-8", "replace")}
        message = self.session.msg("iopub_welcome", content, parent={})
        return self.session.serialize(message, ident=topic or None)

    def _captured(self, stream: str, text: str) -> None:
        target = sys.__dict__.get(stream)
        parent = target.parent_header if isinstance(target, KernelStream) else self.kernel.shell.parent_header
        self.outbox.write(stream, parent.get("header", parent), text)

    def _refused(self, kind: str, size: int, parent: dict[str, Any]) -> None:
        header = (parent or {}).get("header", parent or {})
        limit, mib = MAX_DISPLAY_BYTES >> 20, size / (1 << 20)
        self.outbox.write(
            "stderr",
            header,
            f"A {kind} of {mib:.1f} MiB was not sent: the limit is {limit} MiB. Show less, or write a file.\n",
        )


def _nothing() -> None:
    pass


def _loopback_works() -> bool:
    with _Socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError:
            return False
    return True
