import tempfile
from pathlib import Path

import pytest

from podflare_nb.provisioning.jail.capabilities import KERNEL_SET, Capability

STATUS = """
def sets(pid="self"):
    lines = dict(line.split(":") for line in open(f"/proc/{pid}/status").read().splitlines() if ":" in line)
    return [int(lines[name].strip(), 16) for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")]
"""
MASK = sum(1 << capability for capability in KERNEL_SET)
EVERYTHING = 0x1FFFFFFFF  # all that Linux 5.9 had; newer ones have more


def test_the_kernels_set_is_the_file_ones_the_identity_ones_kill_and_chroot():
    assert {capability.name for capability in KERNEL_SET} == {
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SYS_CHROOT",
    }  # fmt: skip
    assert all(KERNEL_SET.values())


def test_a_kernel_has_exactly_its_set_and_so_has_what_it_executes_as_root(in_child):
    own, executed = in_child(
        STATUS
        + """
as_root_of_a_sandbox(user_namespace.FIRST_ID); capabilities.keep_kernel_set(); sc.set_no_new_privs()
process = subprocess.Popen(["/bin/sleep", "60"])
print(json.dumps([sets(), sets(process.pid)]))
process.kill()
"""
    )
    assert own == [MASK, MASK, MASK, 0, 0]
    assert executed == [MASK, MASK, MASK, 0, 0]


def test_without_the_cut_the_sandboxs_root_has_every_capability_in_its_namespace(in_child):
    bounding, permitted, effective, inheritable, ambient = in_child(
        STATUS + "as_root_of_a_sandbox(user_namespace.FIRST_ID); print(json.dumps(sets()))"
    )
    assert bounding & permitted & effective & EVERYTHING == EVERYTHING
    assert (inheritable, ambient) == (0, 0)


@pytest.mark.parametrize(
    ("attempt", "with_all", "with_set"),
    [
        ("lambda: sc.unshare(sc.CLONE_NEWUTS)", "done", "EPERM"),
        ("lambda: sc.prctl(sc.PR_CAPBSET_DROP, 0)", "done", "EPERM"),
        ("lambda: sc.capset(effective=1 << 21, permitted=1 << 21, inheritable=0)", "done", "EPERM"),
        ("lambda: os.chroot('/')", "done", "done"),
        ("lambda: os.setgroups([1, 2])", "done", "done"),
        ("lambda: os.setresuid(42, 42, 42)", "done", "done"),
    ],
)
def test_what_the_cut_takes_away_and_what_it_leaves(in_child, attempt, with_all, with_set):
    source = "as_root_of_a_sandbox(); {}\nprint(json.dumps(outcome({})))"
    assert in_child(source.format("", attempt)) == with_all
    assert in_child(source.format("capabilities.keep_kernel_set()", attempt)) == with_set


@pytest.fixture
def open_directory():
    """One that everybody may enter, as pytest's own may not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        directory = Path(path)
        directory.chmod(0o755)
        yield directory


def test_the_sandboxs_root_acts_on_files_of_its_users_but_not_on_those_of_the_host(in_child, open_directory):
    for name in ("theirs", "hosts"):
        (open_directory / name).write_text("x")
        (open_directory / name).chmod(0o600)
    source = """
theirs, hosts = sys.argv[1:]
os.chown(theirs, user_namespace.FIRST_ID + 42, user_namespace.FIRST_ID + 42)
as_root_of_a_sandbox(user_namespace.FIRST_ID); capabilities.keep_kernel_set()
print(json.dumps([outcome(open, theirs), outcome(os.chmod, theirs, 0o644), outcome(os.chown, theirs, 7, 7),
                  outcome(open, hosts), outcome(os.chmod, hosts, 0o644), outcome(os.chown, hosts, 0, 0)]))
"""
    answer = in_child(source, str(open_directory / "theirs"), str(open_directory / "hosts"))
    assert answer == ["done", "done", "done", "EACCES", "EPERM", "EPERM"]


def test_drop_all_leaves_nothing_and_nothing_comes_back(in_child):
    now, later = in_child(
        STATUS
        + """
capabilities.drop_bounding()
os.setgroups([]); os.setresgid(65533, 65533, 65533); os.setresuid(65533, 65533, 65533)
capabilities.drop_all()
before = sets()
print(json.dumps([before, outcome(os.setuid, 0)]))
"""
    )
    assert now == [0, 0, 0, 0, 0]
    assert later == "EPERM"


def test_drop_all_as_root_empties_the_bounding_set_too(in_child):
    assert in_child(STATUS + "capabilities.drop_all(); print(json.dumps(sets()))") == [0, 0, 0, 0, 0]


def test_capability_numbers_are_linuxs(in_child):
    assert (Capability.KILL, Capability.SETPCAP, Capability.SYS_CHROOT) == (5, 8, 18)
    bounding = in_child(STATUS + "capabilities.drop_bounding([capabilities.Capability.CHOWN]); print(sets()[0])")
    assert bounding == 1
