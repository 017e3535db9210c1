"""The filter, as decisions (for both machines, by a small interpreter) and as the kernel carries it out."""

import errno
import platform
import shutil
import struct
from pathlib import Path

import pytest

from podflare_nb.provisioning.jail import seccomp
from podflare_nb.provisioning.jail.syscall_numbers import LAST_OWN, LAST_REVIEWED, NUMBERS

MACHINES = ("x86_64", "aarch64")
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003, "arm": 0x40000028}
ERRNO_OF = {call: denial.errno for denial in seccomp.DENIED for call in denial.calls.split()}
ORDINARY = {
    "x86_64": {"read": 0, "mmap": 9, "vfork": 58, "execve": 59, "chroot": 161, "ptrace": 101, "mbind": 237},
    "aarch64": {"read": 63, "mmap": 222, "execve": 221, "chroot": 51, "ptrace": 117, "mbind": 235},
}


def decide(machine, number, *arguments, architecture=None):
    """What the filter for ``machine`` answers: 0 for allowed, or an errno."""
    words = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=iIQ6Q", number if number < 1 << 31 else number - (1 << 32),
                       ARCHITECTURE[architecture or machine], 0, *(w & (1 << 64) - 1 for w in words))  # fmt: skip
    program = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    value, at = 0, 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, k)
        elif code == 0x54:
            value &= k
        elif code == 0x06:
            return 0 if k == 0x7FFF0000 else k & 0xFFFF
        else:
            holds = {0x15: value == k, 0x25: value > k, 0x45: bool(value & k)}[code]
            at += if_true if holds else if_false


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_of_the_table_is_refused_with_its_error(machine):
    for call, expected in ERRNO_OF.items():
        if call in NUMBERS[machine]:
            assert decide(machine, NUMBERS[machine][call]) == expected, call


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_of_the_number_table_has_a_rule_or_is_the_jails_own(machine):
    judged = {*ERRNO_OF, "clone", "unshare", "personality", "ioctl", "socket", "socketpair"}
    assert NUMBERS[machine].keys() - judged == {"close_range", "openat2", "pidfd_send_signal", "seccomp"}


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_that_are_not_in_the_table_are_allowed(machine):
    refused = {NUMBERS[machine][call] for call in ERRNO_OF if call in NUMBERS[machine]}
    refused |= {NUMBERS[machine][call] for call in ("socket", "socketpair")}
    for number in [*range(LAST_OWN[machine] + 1), *range(424, LAST_REVIEWED + 1)]:
        assert (decide(machine, number) == 0) == (number not in refused), number
    for number in ORDINARY[machine].values():
        assert decide(machine, number) == 0


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_newer_than_the_table_and_numbers_between_are_not_implemented(machine):
    for number in (LAST_REVIEWED + 1, LAST_REVIEWED + 50, 1000, 0xFFFFFFFF, LAST_OWN[machine] + 1, 423):
        assert decide(machine, number) == errno.ENOSYS


def test_x32_calls_are_not_implemented():
    assert decide("x86_64", 0x40000000 | 39) == errno.ENOSYS


@pytest.mark.parametrize(("machine", "other"), [("x86_64", "i386"), ("aarch64", "arm")])
def test_calls_of_another_instruction_set_are_not_implemented(machine, other):
    for number in (0, 1, 20, 39):
        assert decide(machine, number, architecture=other) == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_clone_makes_processes_and_threads_but_no_namespace(machine):
    clone = NUMBERS[machine]["clone"]
    thread, fork, vfork = 0x3D0F00, 0x01200011, 0x4111
    assert [decide(machine, clone, flags) for flags in (thread, fork, vfork)] == [0, 0, 0]
    for namespace in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert decide(machine, clone, fork | namespace) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_unshare_makes_no_namespace_known_or_to_come(machine):
    unshare = NUMBERS[machine]["unshare"]
    assert [decide(machine, unshare, flags) for flags in (0, 0x200, 0x400, 0x600)] == [0, 0, 0, 0]
    for flags in (0x80, 0x1000, 0x20000, 0x100000, 0x10000000, 0x40000000, 0x80000000, 0x7E020080):
        assert decide(machine, unshare, flags) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("family", "kind", "protocol", "expected"),
    [
        (1, 1, 0, 0), (1, 5 | 0o2000000, 0, 0),
        (2, 1, 0, 0), (2, 1 | 0o2000000 | 0o4000, 6, 0), (10, 2, 17, 0), (2, 2, 1, 0), (10, 2, 58, 0),
        (2, 3, 0, errno.EPERM), (2, 3, 1, errno.EPERM), (10, 3, 255, errno.EPERM), (2, 10, 0, errno.EPERM),
        (2, 5, 132, errno.EPERM), (2, 6, 33, errno.EPERM),
        (2, 1, 132, errno.EPROTONOSUPPORT), (2, 1, 262, errno.EPROTONOSUPPORT), (2, 2, 136, errno.EPROTONOSUPPORT),
        (16, 3, 0, 0), (16, 3 | 0o2000000, 0, 0), (16, 2, 0, 0),
        (16, 3, 12, errno.EPROTONOSUPPORT), (16, 3, 9, errno.EPROTONOSUPPORT),
        (17, 3, 3, errno.EAFNOSUPPORT), (17, 10, 3, errno.EAFNOSUPPORT), (38, 5, 0, errno.EAFNOSUPPORT),
        (40, 1, 0, errno.EAFNOSUPPORT), (44, 3, 0, errno.EAFNOSUPPORT), (21, 5, 0, errno.EAFNOSUPPORT),
        (0xFFFFFFFF, 1, 0, errno.EAFNOSUPPORT), (0, 1, 0, errno.EAFNOSUPPORT),
    ],
)  # fmt: skip
def test_sockets_are_unix_inet_and_route_netlink_only(machine, family, kind, protocol, expected):
    assert decide(machine, NUMBERS[machine]["socket"], family, kind, protocol) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_the_high_half_of_an_int_argument_changes_nothing(machine):
    high = 1 << 32
    assert decide(machine, NUMBERS[machine]["socket"], high | 40, high | 1, 0) == errno.EAFNOSUPPORT
    assert decide(machine, NUMBERS[machine]["ioctl"], 0, high | 0x5412) == errno.EPERM
    assert decide(machine, NUMBERS[machine]["clone"], high | 0x10000011) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_ioctl_types_into_no_terminal(machine):
    ioctl = NUMBERS[machine]["ioctl"]
    assert [decide(machine, ioctl, 0, command) for command in (0x5412, 0x541C, 0x5423)] == [errno.EPERM] * 3
    assert [decide(machine, ioctl, 0, command) for command in (0x5401, 0x5413, 0x8914)] == [0, 0, 0]


@pytest.mark.parametrize("machine", MACHINES)
def test_personality_stays_that_of_plain_linux(machine):
    personality = NUMBERS[machine]["personality"]
    assert [decide(machine, personality, value) for value in (0, 0xFFFFFFFF, 0x40000)] == [0, 0, 0]
    assert [decide(machine, personality, value) for value in (0x400000, 0x100000, 8, 0x440000)] == [errno.EPERM] * 4


def test_a_machine_without_a_table_gets_no_filter_but_an_error():
    with pytest.raises(OSError, match="riscv64"):
        seccomp.program("riscv64")


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_those_of_the_kernels_headers(machine, header):
    if not Path(header).is_file():
        pytest.skip("no kernel headers are installed")
    defined = {}
    for line in Path(header).read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "#define" and words[2].isdigit():
            defined[words[1].removeprefix("__NR_")] = int(words[2])
    both = NUMBERS[machine].keys() & defined.keys()
    assert len(both) > 50
    assert {call: NUMBERS[machine][call] for call in both} == {call: defined[call] for call in both}


CALLS = """
import ctypes
from podflare_nb.provisioning.jail.syscall_numbers import NUMBERS
os.setsid()
if sys.argv[1] == "filtered":
    under_the_filter()
libc = ctypes.CDLL(None, use_errno=True)
answers = {}
numbers = NUMBERS[sc.MACHINE]
for call in sys.argv[2:]:
    ctypes.set_errno(0)
    # Minus one is no valid pointer, flag, descriptor or command of any of them: they fail after the permission.
    words = [0, -1, 0] if call == "modify_ldt" else [-1] * 6
    result = libc.syscall(ctypes.c_long(numbers[call]), *[ctypes.c_long(word) for word in words])
    answers[call] = ctypes.get_errno() if result == -1 else 0
print(json.dumps(answers))
"""
NATIVE = platform.machine()
CALLED = sorted(set(ERRNO_OF) & set(NUMBERS.get(NATIVE, {})))


@pytest.fixture(scope="module")
def answers(in_child):
    """Errors that the machine's own kernel gives: without the filter as root, and with it as the same root."""
    return {how: in_child(CALLS, how, *CALLED) for how in ("filtered", "free")}


@pytest.mark.parametrize("call", CALLED)
def test_the_kernel_refuses_the_call_and_without_the_filter_it_does_not(answers, call):
    assert answers["filtered"][call] == ERRNO_OF[call]
    if answers["free"][call] != errno.ENOSYS:  # a call that this Linux lacks has no negative control
        assert answers["free"][call] != ERRNO_OF[call]


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        ("sc.unshare, sc.CLONE_NEWUSER", "EPERM"),
        ("sc.unshare, sc.CLONE_NEWNET", "EPERM"),
        ("sc.mount, 'tmpfs', '/mnt', 'tmpfs'", "EPERM"),
        ("socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP", "EPERM"),
        ("socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 3", "EAFNOSUPPORT"),
        ("socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 9", "EPROTONOSUPPORT"),
    ],
)
def test_what_root_may_do_without_the_filter_it_may_not_with_it(in_child, attempt, expected):
    private = "sc.unshare(sc.CLONE_NEWNS); sc.mount(None, '/', None, sc.MS_REC | sc.MS_PRIVATE)\n"
    tell = f"print(json.dumps(outcome({attempt})))"
    assert in_child(private + "under_the_filter()\n" + tell) == expected
    assert in_child(private + tell) == "done"


INT_80 = """
import mmap
if sys.argv[1] == "filtered":
    under_the_filter()
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("b814000000" "cd80" "c3"))   # mov eax, 20 (getpid of i386); int 0x80; ret
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
print(json.dumps([function(), os.getpid()]))
"""


@pytest.mark.skipif(NATIVE != "x86_64", reason="int 0x80 is of x86")
def test_a_32_bit_call_is_not_implemented_and_without_the_filter_it_is(in_child):
    result, _ = in_child(INT_80, "filtered")
    assert result == -errno.ENOSYS
    result, pid = in_child(INT_80, "free")
    assert result in (pid, -errno.ENOSYS)  # a Linux without 32-bit programs


def test_the_filter_holds_for_threads_that_run_already_and_for_what_is_executed(in_child):
    answer = in_child("""
go, seen = threading.Event(), []
thread = threading.Thread(target=lambda: (go.wait(), seen.append(outcome(sc.unshare, sc.CLONE_NEWUTS))))
thread.start()
under_the_filter()
go.set(); thread.join()
seen.append(subprocess.run(["unshare", "-u", "true"], stderr=subprocess.DEVNULL).returncode != 0)
seen.append([line.split()[1] for line in open("/proc/self/status") if line.startswith(("Seccomp:", "NoNewPrivs:"))])
print(json.dumps(seen))
""")
    assert answer == ["EPERM", True, ["1", "2"]]


def test_a_tracer_cannot_make_its_child_get_around_the_filter(in_child):
    if NATIVE != "x86_64":
        pytest.skip("changes registers of x86_64")
    # The child calls getppid (110); at the entry stop its tracer changes the number to unshare (272).
    answer = in_child("""
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
under_the_filter()
pid = os.fork()
if pid == 0:
    libc.ptrace(0, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
    libc.syscall.restype = ctypes.c_long
    os._exit(min(ctypes.get_errno(), 99) if libc.syscall(ctypes.c_long(110), ctypes.c_long(0x4000000)) == -1 else 0)
os.waitpid(pid, 0)
changed = False
while True:
    libc.ptrace(24, pid, None, None)            # PTRACE_SYSCALL
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        break
    registers = (ctypes.c_ulonglong * 27)()
    libc.ptrace(12, pid, None, ctypes.addressof(registers))
    if registers[15] == 110 and not changed:
        registers[15] = 272
        libc.ptrace(13, pid, None, ctypes.addressof(registers))
        changed = True
print(json.dumps([changed, os.WEXITSTATUS(status)]))
""")
    assert answer == [True, errno.EPERM]


WORK = {
    "subprocesses": """
out = [subprocess.run(["sh", "-c", "echo 42"], capture_output=True, text=True).stdout.strip()]
pid = os.posix_spawn("/bin/true", ["true"], {}); out.append(os.waitpid(pid, 0)[1])
out.append(os.popen("echo x | cat").read().strip())
assert out == ["42", 0, "x"], out
""",
    "threads": """
seen = []
threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(16)]
[t.start() for t in threads]; [t.join() for t in threads]
assert sorted(seen) == list(range(16))
""",
    "multiprocessing": """
import multiprocessing
for method in ("fork", "spawn", "forkserver"):
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2], method
""",
    "asyncio": """
import asyncio
async def main():
    process = await asyncio.create_subprocess_exec("echo", "42", stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == b"42\\n"
    await asyncio.to_thread(lambda: None)
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    writer.close(); server.close()
asyncio.run(main())
""",
    "names and interfaces": """
assert socket.getaddrinfo("localhost", 80)
assert "lo" in [name for _, name in socket.if_nameindex()]
assert socket.socketpair()
""",
    "shared memory and queues": """
from multiprocessing import shared_memory, Queue
block = shared_memory.SharedMemory(create=True, size=4096); block.buf[0] = 1; block.close(); block.unlink()
fd = os.memfd_create("x"); os.ftruncate(fd, 10)
q = Queue(); q.put(1); assert q.get(timeout=30) == 1
""",
    "terminals": """
import pty
pid, fd = pty.fork()
if pid == 0:
    os.execvp("stty", ["stty", "size"])
assert b" " in os.read(fd, 100); os.waitpid(pid, 0)
""",
    "pip": """
out = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True)
assert out.stdout.startswith("pip ") or "No module named pip" in out.stderr, out
""",
    "numpy": """
try:
    import numpy
except ImportError:
    pass
else:
    a = numpy.ones((600, 600)); assert (a @ a)[0, 0] == 600
""",
    "tracing one's own child": """
libc = ctypes.CDLL(None, use_errno=True)
pid = os.fork()
if pid == 0:
    signal.pause()
assert libc.ptrace(ctypes.c_long(0x4206), ctypes.c_long(pid), None, None) == 0
os.kill(pid, signal.SIGKILL)
while not os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
    pass
""",
}  # fmt: skip


@pytest.mark.parametrize("work", WORK)
def test_ordinary_work_goes_on_under_the_filter_and_the_kernels_capabilities(in_child, work):
    enter = "as_root_of_a_sandbox(); capabilities.keep_kernel_set(); under_the_filter()\n"
    assert in_child(enter + WORK[work] + "print('true')") is True


@pytest.mark.parametrize(
    "command", ["git --version", "node -e 1", "java -version", "bash -c 'ulimit -a'", "perl -e 1", "tar --version"]
)
def test_ordinary_programs_run_under_the_filter(in_child, command):
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"{command.split()[0]} is not installed")
    source = """
as_root_of_a_sandbox(); capabilities.keep_kernel_set(); under_the_filter()
import shlex
print(json.dumps(subprocess.run(shlex.split(sys.argv[1]), capture_output=True).returncode))
"""
    assert in_child(source, command) == 0


def test_git_makes_a_repository_under_the_filter(in_child, tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    source = """
as_root_of_a_sandbox(); capabilities.keep_kernel_set(); under_the_filter()
os.chdir(sys.argv[1]); os.environ["HOME"] = sys.argv[1]
open("file", "w").write("x")
git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
steps = [["init", "-q", "."], ["add", "file"], ["commit", "-q", "-m", "x"], ["log", "--oneline"]]
print(json.dumps([subprocess.run(git + step, stdout=subprocess.DEVNULL).returncode for step in steps]))
"""
    assert in_child(source, str(tmp_path)) == [0, 0, 0, 0]
