"""All that touches ipykernel's internals: its application, kernel and publishing thread, made forkable and quick.

A template builds one ``TemplateApp`` without sockets, threads or an event loop; ``connect`` plugs it into a
``Transport`` in the process that is to serve. Between them, compared with ipykernel as it comes: no thread for the
shell channel, none for iopub, none for each standard stream, no sleep per execution, no hop on the way to a client
(forkable-kernels.md measured what each costs). ``SEAMS`` names every attribute of ipykernel and IPython that is
overridden or relied upon beyond their documentation; a test fails when a release moves one. ``shell`` and ``streams``
hold the classes of IPython's and ipykernel's that have their own subject.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import zmq
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, _asyncio_runner
from IPython.core.profiledir import ProfileDir
from ipykernel.displayhook import ZMQDisplayHook
from ipykernel.iostream import BackgroundSocket, IOPubThread
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from tornado.ioloop import IOLoop
from traitlets import Any as AnyTrait
from traitlets import Type
from zmq.eventloop.zmqstream import ZMQStream

from .interrupts import Interrupts
from .outbox import Outbox
from .service import ServiceThread
from .session import MAX_DISPLAY_BYTES, KernelSession
from .shell import KernelShell
from .streams import KernelStream
from .transport import SHELL_INPROC, Publishing, Transport

COMM_MESSAGES = ("comm_open", "comm_msg", "comm_close")

SEAMS: dict[str, tuple[str, ...]] = {
    "ipykernel.kernelapp:IPKernelApp": (
        "init_blackhole init_code init_connection_file init_extensions init_gui_pylab init_heartbeat init_io init_kernel"
        " init_path init_pdb init_poller init_shell init_signal init_sockets log_connection_info patch_io"
        " configure_tornado_logger write_connection_file init_profile_dir init_config_files load_config_file"
        " _run_startup_files"
    ).split(),
    "ipykernel.ipkernel:IPythonKernel": (
        "do_execute do_complete do_inspect do_debug_request dispatch_debugpy poll_stopped_queue start _forward_input"
        " _restore_input"
    ).split(),
    "ipykernel.kernelbase:Kernel": (
        "_abort_queues _aborting _execute_sleep _main_asyncio_lock _control_lock _publish_status _supports_kernel_subshells"
        " dispatch_control shell_main pre_handler_hook post_handler_hook kernel_info _topic shutdown_request"
    ).split(),
    "ipykernel.iostream:IOPubThread": "send_multipart schedule background_socket start stop close closed".split(),
    "ipykernel.iostream:OutStream": "write flush close fileno parent_header set_parent".split(),
    "ipykernel.zmqshell:ZMQInteractiveShell": "system_piped _showtraceback init_environment init_magics _tee db".split(),
    "IPython.core.interactiveshell:InteractiveShell": (
        "run_cell_async transform_cell should_run_async loop_runner showtraceback user_expressions payload_manager"
    ).split(),
    "ipykernel.debugger:Debugger": "process_request".split(),
}


class Publisher(IOPubThread):
    """An IOPubThread by type, without the thread: messages go to the outbox in the thread that makes them."""

    def __init__(self, session: KernelSession, outbox: Outbox) -> None:
        # Not IOPubThread's __init__: it makes sockets and a loop.
        self.session = session
        self.outbox = outbox
        self.socket = None
        self.thread: Any = None
        self.background_socket = BackgroundSocket(self)

    def send_multipart(self, msg: Sequence[Any], *_args: Any, **_kwargs: Any) -> None:
        """Publish one message."""
        self.outbox.publish([part if type(part) is bytes else bytes(part) for part in msg])

    def schedule(self, f: Callable[[], Any]) -> None:
        """Call now: no thread of its own."""
        f()

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def close(self) -> None:
        """Nothing to close."""

    @property
    def closed(self) -> bool:
        """Never."""
        return False


class ForkedKernel(IPythonKernel):
    """The kernel. ``interrupts`` belongs to it; ``transport`` is there once the process serves."""

    shell_class = Type(KernelShell)
    shell_stream = AnyTrait()
    transport: Transport

    def __init__(self, **kwargs: Any) -> None:
        self.interrupts = Interrupts()
        super().__init__(**kwargs)
        self._execute_sleep = 0.0
        for kind in COMM_MESSAGES:
            self.shell_handlers[kind] = self._interruptible(self.shell_handlers[kind])

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

    def start(self) -> None:
        """As ipykernel's, without its debugger, which starts with the first request to it."""
        self.io_loop = IOLoop.current()
        self._control_lock = asyncio.Lock()
        self.interrupts.install()
        self.control_stream.on_recv(self.dispatch_control, copy=False)
        self.shell_stream.serve(lambda message: self.shell_main(None, message), self._is_comm, self._stop_aborting)
        self._publish_status("starting", "shell")

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

    def _stop_aborting(self) -> None:
        self._aborting = False

    def pre_handler_hook(self) -> None:
        """SIGINT is ours, whatever the last cell made of it."""
        self.interrupts.install()

    def post_handler_hook(self) -> None:
        """What a request made C code or a child print belongs before its idle."""
        self.transport.capture.settle()
        self.interrupts.install()

    @contextmanager
    def _armed(self) -> Any:
        self.interrupts.armed = True
        try:
            yield
        finally:
            self.interrupts.armed = False

    def _interruptible(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def handle(*args: Any) -> Any:
            try:
                with self._armed():
                    return handler(*args)
            except KeyboardInterrupt:
                self.shell.showtraceback()

        return handle

    async def do_execute(  # noqa: PLR0913  # ipykernel's signature
        self,
        code: str,
        silent: bool,  # noqa: FBT001
        store_history: bool = True,  # noqa: FBT001, FBT002
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,  # noqa: FBT001, FBT002
        *,
        cell_meta: dict[str, Any] | None = None,
        cell_id: str | None = None,
    ) -> dict[str, Any]:
        """Run a cell; whatever it raises, the kernel lives."""
        shell = self.shell
        shell._last_traceback = None
        shell._last_traceback_during_displayhook = False
        options = {"store_history": store_history, "silent": silent, "cell_id": cell_id, "cell_meta": cell_meta}
        self.interrupts.cancelled = False
        self._forward_input(allow_stdin)
        try:
            with self._armed():
                result = await self._run(code, options)
        except BaseException as error:  # noqa: BLE001  # SystemExit and KeyboardInterrupt are the cell's, not ours
            result = ExecutionResult(ExecutionInfo(code, store_history, silent, True, cell_id, cell_meta))
            result.error_in_exec = error
            shell.showtraceback()
        finally:
            self._restore_input()
        if not self.session.in_kernel:
            os._exit(0 if result.success else 1)  # a child that the cell forked came back: it is no kernel
        return self._reply(result, user_expressions or {})

    async def _run(self, code: str, options: dict[str, Any]) -> ExecutionResult:
        shell = self.shell
        failure = None
        try:
            transformed = shell.transform_cell(code)
        except Exception:  # noqa: BLE001  # shown by run_cell_async, as the cell's error
            transformed, failure = code, sys.exc_info()
        prepared = {"transformed_cell": transformed, "preprocessing_exc_tuple": failure}
        awaits = shell.should_run_async(code, **prepared)
        cell = shell.run_cell_async(code, **options, **prepared)
        result = None
        try:
            if not awaits:
                result = await cell  # never suspends
            elif shell.loop_runner is _asyncio_runner:
                result = await self._run_task(cell)
            else:  # %autoawait curio or trio
                result = shell.loop_runner(cell)
        finally:
            shell.events.trigger("post_execute")
            if not options["silent"]:
                shell.events.trigger("post_run_cell", result)
        return result

    async def _run_task(self, cell: Any) -> ExecutionResult:
        self.interrupts.cell = asyncio.ensure_future(cell)
        try:
            return await self.interrupts.cell
        finally:
            self.interrupts.cell = None

    def _reply(self, result: ExecutionResult, user_expressions: dict[str, str]) -> dict[str, Any]:
        shell = self.shell
        error = result.error_before_exec if result.error_before_exec is not None else result.error_in_exec
        if isinstance(error, asyncio.CancelledError) and self.interrupts.cancelled:
            error = KeyboardInterrupt()
        reply: dict[str, Any] = {"status": "ok", "user_expressions": {}}
        if error is not None:
            # What is queued now is aborted; what a client sends when it has seen this reply is not.
            self.shell_stream.mark()
        if error is None and not shell._last_traceback_during_displayhook:
            reply["user_expressions"] = shell.user_expressions(user_expressions)
        else:
            reply.update(
                status="error", ename=type(error).__name__, evalue=str(error), traceback=shell._last_traceback or []
            )
        reply["execution_count"] = shell.execution_count - 1
        reply["payload"] = shell.payload_manager.read_payload()
        shell.payload_manager.clear_payload()
        return reply

    async def do_complete(self, code: str, cursor_pos: int | None) -> dict[str, Any]:  # type: ignore[override]  # ipykernel's is not async here, its base's is
        """Complete; none when interrupted (completing may run the user's code)."""
        try:
            with self._armed():
                return super().do_complete(code, cursor_pos)  # type: ignore[no-any-return]
        except KeyboardInterrupt:
            position = len(code) if cursor_pos is None else cursor_pos
            return {"matches": [], "cursor_start": position, "cursor_end": position, "metadata": {}, "status": "ok"}

    async def do_inspect(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # the same
        """Inspect; nothing found when interrupted."""
        try:
            with self._armed():
                return super().do_inspect(*args, **kwargs)  # type: ignore[no-any-return]
        except KeyboardInterrupt:
            return {"status": "ok", "data": {}, "metadata": {}, "found": False}

    async def do_history(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # the same
        """As ipykernel's; async because ipykernel warns of any other."""
        return super().do_history(*args, **kwargs)  # type: ignore[no-any-return]

    async def do_is_complete(self, code: str) -> dict[str, Any]:  # type: ignore[override]  # the same
        """As ipykernel's; async because ipykernel warns of any other."""
        return super().do_is_complete(code)  # type: ignore[no-any-return]

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:  # type: ignore[override]  # noqa: FBT001  # ipykernel's signature
        """``shutdown_request`` stops the loop after its reply; ``attach`` then ends the process."""
        return {"status": "ok", "restart": restart}

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
        return await super().do_debug_request(msg)  # type: ignore[no-any-return]


class TemplateApp(IPKernelApp):
    """The application, built once in the template. ``profile``: a directory for the time of building only."""

    kernel_class = Type(ForkedKernel)
    transport: Transport | None = None

    def __init__(self, profile: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outbox = Outbox(self._stream_message)
        self.session = KernelSession(self._refused, parent=self)
        self._profile = profile
        self.config.HistoryManager.hist_file = ":memory:"
        warnings.filterwarnings("ignore", "To exit: use 'exit'", UserWarning)  # SystemExit ends the cell
        self.config.InteractiveShellApp.ignore_cwd = True

    def init_profile_dir(self) -> None:
        """A directory that nothing is read from."""
        self.profile_dir = ProfileDir.create_profile_dir(self._profile, self.config)

    def init_config_files(self) -> None:
        """None: a kernel is the same whatever the machine's /etc/ipython says."""

    def load_config_file(self, *_args: Any, **_kwargs: Any) -> None:
        """None."""

    def init_connection_file(self) -> None:
        """None: descriptors are handed over."""

    def write_connection_file(self, **_kwargs: Any) -> None:
        """None."""

    def log_connection_info(self) -> None:
        """Nobody connects by hand."""

    def init_poller(self) -> None:
        """The supervisor's end is seen on the control channel."""

    def init_sockets(self) -> None:
        """Later, in the child."""

    def init_heartbeat(self) -> None:
        """Later, in the child."""

    def init_signal(self) -> None:
        """Later, in the child."""

    def init_path(self) -> None:
        """Later, in the child: a template imports nothing from a working directory."""

    def _run_startup_files(self) -> None:
        """None."""

    def init_io(self) -> None:
        """Streams and display hook, which publish nowhere yet."""
        self.configure_tornado_logger()
        self.iopub_thread = Publisher(self.session, self.outbox)
        self.iopub_socket = self.iopub_thread.background_socket
        sys.stdout = KernelStream(1, self.session, self.iopub_thread, self.outbox)
        sys.stderr = KernelStream(2, self.session, self.iopub_thread, self.outbox)
        self.displayhook = sys.displayhook = ZMQDisplayHook(self.session, self.iopub_socket)
        self.patch_io()

    def init_kernel(self) -> None:
        """The kernel and its shell, without streams."""
        self.kernel = ForkedKernel.instance(
            parent=self,
            session=self.session,
            iopub_thread=self.iopub_thread,
            iopub_socket=self.iopub_socket,
            log=self.log,
            profile_dir=self.profile_dir,
            user_ns=self.user_ns,
        )
        self.displayhook.get_execution_count = lambda: self.kernel.execution_count

    def connect(self, listeners: Mapping[str, int], key: bytes) -> Transport:
        """Serve on listening descriptors; the event loop that is current will run. Forgets an earlier transport."""
        if self.transport is not None:
            self.transport.abandon()
        self.session.renew(key)
        publishing = Publishing(self.outbox, self._welcome_message, self._captured)
        self.transport = transport = Transport(listeners, publishing, self.kernel.interrupts)
        self.context = transport.context
        self.control_thread = self.iopub_thread.thread = transport.service
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, KernelStream):
                stream.connect(transport.capture)
        self.kernel.connect(transport)
        transport.start()
        return transport

    def disconnect(self) -> None:
        """Take the transport down; the process is a template again. The loop that was current is closed."""
        assert self.transport is not None
        self.transport.dismantle()
        self.outbox.connect(None, _nothing)
        kernel = self.kernel
        kernel.shell_stream = kernel.control_stream = kernel.control_thread = kernel.stdin_socket = kernel.io_loop = None
        self.transport = self.context = self.control_thread = self.iopub_thread.thread = None
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, KernelStream):
                stream.connect(None)

    def _stream_message(self, stream: str, parent: dict[str, Any], text: str) -> Sequence[bytes]:
        message = self.session.msg("stream", {"name": stream, "text": text}, parent=parent)
        return self.session.serialize(message, ident=f"stream.{stream}".encode())

    def _welcome_message(self, topic: bytes) -> Sequence[bytes]:
        content = {"subscription": topic.decode("utf-8", "replace")}
        message = self.session.msg("iopub_welcome", content, parent={})
        return self.session.serialize(message, ident=topic or None)

    def _captured(self, stream: str, text: str) -> None:
        target = sys.__dict__[stream]
        parent = target.parent_header if isinstance(target, KernelStream) else self.kernel.shell.parent_header
        self.outbox.write(stream, parent.get("header", parent), text)

    def _refused(self, kind: str, size: int, parent: dict[str, Any]) -> None:
        header = (parent or {}).get("header", parent or {})
        limit, mib = MAX_DISPLAY_BYTES >> 20, size / (1 << 20)
        self.outbox.write(
            "stderr",
            header,
            f"A {kind} of {mib:.1f} MiB was not sent: the limit is {limit} MiB. Show less at a time, or write a file.\n",
        )


def _nothing() -> None:
    pass


def _loopback_works() -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError:
            return False
    return True


__all__ = ["SEAMS", "ForkedKernel", "Publisher", "ServiceThread", "TemplateApp"]
