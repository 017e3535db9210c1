"""Attacks that a cell can run against its jail, as data: what a hostile tenant would type.

Each source prints ``BROKEN`` when the attack reached what it was after, else ``HELD`` and what it met. Each has a
negative control, in which the same source must print ``BROKEN``: with the layers of ``without`` left out of the jail
(several where more than one of them stops it), or outside of any jail (``ON_THE_HOST``) where the layer cannot be
left out. So no attack here can pass because it is a bad attack.
"""

import json
from dataclasses import dataclass

from podflare_nb.provisioning.jail import syscalls
from podflare_nb.provisioning.jail.syscall_numbers import NUMBERS

ON_THE_HOST = ("jail",)
POWERLESS = ("seccomp", "capabilities", "user")
"""Calls that take root's power over the host: the filter, the capabilities and the user namespace each stop them."""

PRELUDE = f"""
import contextlib, ctypes, errno, fcntl, json, os, signal, socket, struct, subprocess, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # since Python 3.12 of each fork beside threads
NUMBERS = {json.dumps(NUMBERS.get(syscalls.MACHINE, {}))}
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(name, *arguments):
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(NUMBERS[name]), *words)
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))
def verdict(broken, met):
    print("BROKEN" if broken else "HELD", met, flush=True)
def leave_chroot():
    os.makedirs("/tmp/escape", exist_ok=True)
    os.chroot("/tmp/escape")
    with contextlib.suppress(PermissionError):
        for _ in range(20):
            os.chdir("..")
    os.chroot(".")
"""


@dataclass(frozen=True)
class Attack:
    """``prepares``: a neighbour's cell, run before in another sandbox. ``{...}`` in a source are facts of the test."""

    name: str
    source: str
    without: tuple[str, ...]
    prepares: str | None = None

    def __str__(self):
        return self.name


KERNEL_SURFACE = [
    Attack(
        "leaving the chroot, to where the roots of other branches stand",
        """
leave_chroot()
verdict(os.path.isdir("/b"), sorted(os.listdir("/")))
""",
        ("branch-root",),
    ),
    Attack(
        "a user namespace from outside of the chroot",
        """
leave_chroot()
pid = os.fork()   # a process with threads may not try
if pid == 0:
    os._exit(0 if libc.unshare(0x10000000) == 0 else ctypes.get_errno())
result = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
verdict(result == 0, [sorted(os.listdir("/")), result])
""",
        ("branch-root", "seccomp"),
    ),
    Attack(
        "leaving the chroot does not lead to the host",
        """
leave_chroot()
first = open("/proc/1/comm").read().strip() if os.path.exists("/proc/1") else None
verdict(first not in {None, "cat"}, [first, sorted(os.listdir("/"))])
""",
        ON_THE_HOST,
    ),
    Attack(
        "mounting",
        """
os.makedirs("/tmp/m", exist_ok=True)
result = libc.mount(b"tmpfs", b"/tmp/m", b"tmpfs", 0, None)
verdict(result == 0, result)
""",
        POWERLESS,
    ),
    Attack("the newer mount calls", 'result = call("fsopen", b"tmpfs", 1)\nverdict(isinstance(result, int), result)\n',
           POWERLESS),
    Attack("joining the network of the host by setns",
           'result = call("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0)\nverdict(result == 0, result)\n',
           POWERLESS),
    Attack("keyrings", 'result = call("keyctl", 0, -3, 1)\nverdict(isinstance(result, int), result)\n', ("seccomp",)),
    Attack("userfaultfd",
           f'result = libc.syscall(ctypes.c_long({NUMBERS[syscalls.MACHINE]["userfaultfd"]}), ctypes.c_long(1))\n'
           "verdict(result >= 0, result)\n",
           ("seccomp",)),
    Attack(
        "io_uring",
        """
result = call("io_uring_setup", 4, ctypes.create_string_buffer(120))
verdict(isinstance(result, int), result)
""",
        ("seccomp",),
    ),
    Attack(
        "bpf programs",
        """
result = call("bpf", 0, struct.pack("5I", 2, 4, 4, 4, 0) + bytes(100), 120)   # BPF_MAP_CREATE
verdict(isinstance(result, int), result)
""",
        POWERLESS,
    ),
    Attack("the kernel's log", 'result = call("syslog", 10, None, 0)\nverdict(isinstance(result, int), result)\n',
           POWERLESS),
    Attack(
        "opening files by handle",
        """
fd = os.open("/dev/shm", os.O_RDONLY)
handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
mount = ctypes.c_int()
made = call("name_to_handle_at", fd, b"", handle, ctypes.byref(mount), 0x1000)
result = call("open_by_handle_at", fd, handle, os.O_RDONLY)
verdict(isinstance(result, int), [made, result])
""",
        POWERLESS,
    ),
    Attack("raw sockets",
           "result = attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)\n"
           "verdict(not isinstance(result, str), result)\n",
           POWERLESS),
    Attack("netlink other than routes",
           "result = attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 15)\n"
           "verdict(not isinstance(result, str), result)\n",
           ("seccomp",)),
    Attack("moving memory of processes by move_pages",
           'result = call("move_pages", 0, 0, None, None, None, 0)\nverdict(result == 0, result)\n', ("seccomp",)),
    Attack(
        "raising a capability again",
        """
header, data = struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", 1 << 21, 1 << 21, 0, 0, 0, 0)
result = libc.capset(header, data)
verdict(result == 0, result)
""",
        ("capabilities",),
    ),
    Attack(
        "a setuid program",
        """
import shutil
shutil.copy("/usr/bin/id", "/tmp/id")
os.chown("/tmp/id", 1000, 1000); os.chmod("/tmp/id", 0o4755); os.chmod("/tmp", 0o1777)
out = subprocess.run(["/tmp/id", "-u"], user=2000, group=2000, extra_groups=[], capture_output=True, text=True).stdout
verdict(out.strip() == "1000", out)
""",
        ("no_new_privs", "seccomp"),
    ),
    Attack("settings of the whole machine",
           "result = attempt(os.open, '/proc/sys/kernel/core_pattern', os.O_WRONLY)\n"
           "verdict(isinstance(result, int), result)\n",
           ("proc-masks", "user")),
    Attack("what /proc tells of the whole machine",
           "result = attempt(lambda: open('/proc/interrupts').read())\nverdict('CPU0' in result, len(result))\n",
           ("proc-masks",)),
    Attack(
        "tracing the jail's first process",
        """
libc.ptrace.argtypes = [ctypes.c_long] * 4
result = libc.ptrace(0x4206, 1, 0, 0)   # PTRACE_SEIZE
verdict(result == 0, result)
""",
        POWERLESS,
    ),
    Attack("control groups and devices of the host",
           "seen = [path for path in ('/sys/fs/cgroup', '/sys/class', '/dev/loop-control', '/dev/kmsg', '/dev/mem')\n"
           "        if os.path.exists(path)]\nverdict(seen, seen)\n",
           ON_THE_HOST),
]  # fmt: skip

NETWORKS = [
    Attack("an abstract socket of another sandbox",
           "sock = socket.socket(socket.AF_UNIX)\nresult = attempt(sock.connect, '\\0podflare-attack')\n"
           "verdict(result is None, result)\n",
           ("net",),
           "import socket; s = socket.socket(socket.AF_UNIX); s.bind('\\0podflare-attack'); s.listen()"),
    Attack("a port of another sandbox",
           "result = attempt(socket.socket().connect, ('127.0.0.1', {port}))\nverdict(result is None, result)\n",
           ("net",),
           "import socket; t = socket.socket(); t.bind(('127.0.0.1', {port})); t.listen()"),
    Attack("a port of the host",
           "results = [attempt(socket.socket().connect, (address, {host_port})) for address in {host_addresses}]\n"
           "verdict(None in results, results)\n",
           ("net",)),
]  # fmt: skip
"""These hold whatever a sandbox may reach; the others of the network where it may reach nothing."""

OTHER_TENANTS = [
    Attack(
        "processes of the host and of other sandboxes",
        """
pid = {neighbour_pid}
reached = [attempt(os.kill, pid, 0) is None, not isinstance(attempt(os.pidfd_open, pid), str),
           os.path.exists("/proc/%d/status" % pid)]
verdict(any(reached), reached)
""",
        ON_THE_HOST,
        "print('here')",
    ),
    Attack("more processes than its own",
           "pids = [int(name) for name in os.listdir('/proc') if name.isdigit()]\nverdict(len(pids) > 4, pids)\n",
           ON_THE_HOST),
    *NETWORKS,
    Attack("any way out",
           "names = [name for _, name in socket.if_nameindex()]\n"
           "routes = open('/proc/net/route').read().splitlines()[1:]\n"
           "verdict(names != ['lo'] or routes, [names, routes])\n",
           ("net",)),
    Attack(
        "a name",
        """
query = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"\\x09localhost\\0" + struct.pack(">2H", 1, 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(20)
    sock.connect(("127.0.0.53", 53))
    sock.send(query)
    answer = attempt(sock.recv, 2000)
flags, _, addresses = struct.unpack(">3H", answer[2:8]) if isinstance(answer, bytes) else (0, 0, 0)
verdict(addresses, [flags & 15, addresses] if isinstance(answer, bytes) else answer)
""",
        ("net",),
    ),
    Attack(
        "the file that every kernel has its template's memory from",
        """
mapped = [line.split()[0] for line in open("/proc/self/maps") if "memfd:podflare-template" in line]
result = attempt(os.open, "/proc/self/map_files/" + mapped[0], os.O_RDWR)
verdict(isinstance(result, int), [result, len(mapped)])
""",
        ("user", "capabilities"),
    ),
    Attack("System V memory of another sandbox",
           "result = libc.shmget(0x706F6466, 0, 0)\nverdict(result >= 0, result)\n",
           ("ipc",),
           "import ctypes; libc = ctypes.CDLL(None)\n"
           "made = libc.shmget(0x706F6466, 4096, 0o1666); assert made >= 0"),
    Attack("a POSIX message queue of another sandbox",
           "result = libc.mq_open(b'/podflare-attack', 0)\nverdict(result >= 0, result)\n",
           ("ipc",),
           "import ctypes, os; libc = ctypes.CDLL(None); os.umask(0)\n"
           "assert libc.mq_open(b'/podflare-attack', os.O_CREAT | os.O_RDWR, 0o666, None) >= 0"),
]  # fmt: skip

SECRETS = [
    Attack(
        "the server's environment",
        """
found = []
for pid in [name for name in os.listdir("/proc") if name.isdigit()] + ["self"]:
    try:
        found += [pid] if b"{marker}" in open("/proc/%s/environ" % pid, "rb").read() else []
    except OSError:
        pass
verdict(found or any("{marker}" in value for value in os.environ.values()), found)
""",
        ON_THE_HOST,
    ),
    Attack(
        "descriptors that lead outside",
        """
leading = []
for name in os.listdir("/proc/self/fd"):
    try:
        path, status = os.readlink("/proc/self/fd/" + name), os.fstat(int(name))
    except OSError:
        continue
    kind = status.st_mode & 0o170000
    if kind == 0o040000 or (kind == 0o100000 and not os.path.exists(path)):
        leading.append([name, path])
verdict(leading, leading)
""",
        ON_THE_HOST,
    ),
]

RESOURCES = [
    Attack(
        "a fork bomb",
        """
children = []
for _ in range(120):
    pid = attempt(os.fork)
    if pid == 0:
        signal.pause()
    if isinstance(pid, str):
        break
    children.append(pid)
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
verdict(len(children) == 120, [len(children), pid])
""",
        ("cgroup",),
    ),
    Attack(
        "a bomb of threads",
        """
import threading
go, threads = threading.Event(), []
try:
    for _ in range(120):
        threads.append(threading.Thread(target=go.wait))
        threads[-1].start()
except RuntimeError as error:
    threads.pop()
go.set()
verdict(len(threads) == 120, len(threads))
""",
        ("cgroup",),
    ),
]

MEMORY = [
    Attack("memory of the heap", "held = bytearray(b'x' * (300 << 20))\nverdict(True, len(held))\n", ("cgroup",)),
    Attack(
        "memory of /dev/shm",
        """
with open("/dev/shm/fill", "wb") as file:
    for _ in range(300):
        file.write(b"x" * (1 << 20))
os.unlink("/dev/shm/fill")
verdict(True, 300)
""",
        ("cgroup",),
    ),
    Attack(
        "memory of a memfd",
        """
fd = os.memfd_create("fill")
for _ in range(300):
    os.write(fd, b"x" * (1 << 20))
verdict(True, 300)
""",
        ("cgroup",),
    ),
]
"""These end the kernel at its limit of 256 MiB: the cause is told as out of memory."""

DISK = [
    Attack(
        "a full disk",
        """
def fill():
    with open("/workspace/fill", "wb", buffering=0) as file:
        for _ in range(100):
            file.write(b"x" * (1 << 20))
result = attempt(fill)
verdict(result is None, [result, os.path.getsize("/workspace/fill") >> 20])
""",
        (),
    ),
    Attack(
        "files without number",
        """
def make():
    for number in range(6000):
        os.close(os.open("/workspace/%d" % number, os.O_CREAT))
result = attempt(make)
verdict(result is None, [result, len(os.listdir("/workspace"))])
""",
        (),
    ),
]
"""The control of these is a sandbox with a larger limit."""
