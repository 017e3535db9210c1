import errno
import os
import signal

import pytest

from podflare_nb.provisioning.jail import syscalls as sc


def test_a_failure_names_the_call_and_what_it_was_about():
    with pytest.raises(FileNotFoundError, match="open_tree /no/such: No such file") as raised:
        sc.open_tree("/no/such")
    assert raised.value.errno == errno.ENOENT


def test_openat2_keeps_a_path_beneath_its_directory(tmp_path):
    (tmp_path / "inside").write_text("in")
    (tmp_path / "link").symlink_to("/etc/passwd")
    directory = os.open(tmp_path, os.O_PATH)
    try:
        os.close(sc.openat2("inside", os.O_RDONLY, resolve=sc.RESOLVE_BENEATH, dir_fd=directory))
        for path, error in (("../x", errno.EXDEV), ("link", errno.EXDEV), ("/etc/passwd", errno.EXDEV)):
            with pytest.raises(OSError, match="openat2") as raised:
                sc.openat2(path, os.O_RDONLY, resolve=sc.RESOLVE_BENEATH, dir_fd=directory)
            assert raised.value.errno == error
        made = sc.openat2("new", os.O_WRONLY | os.O_CREAT, mode=0o640, dir_fd=directory)
        os.close(made)
    finally:
        os.close(directory)
    assert (tmp_path / "new").exists()


def test_close_range_closes_the_named_descriptors_only(in_child):
    answer = in_child("""
kept, first = os.dup(0), os.dup(0)
more = [os.dup(0) for _ in range(3)]
sc.close_range(first, first)
sc.close_range(more[0])
print(json.dumps([outcome(os.fstat, fd) for fd in (kept, first, more[0], more[2])]))
""")
    assert answer == ["done", "EBADF", "EBADF", "EBADF"]


def test_a_pidfd_signals_the_process_it_was_opened_for():
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    pidfd = os.pidfd_open(pid)
    try:
        sc.pidfd_send_signal(pidfd, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            sc.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def test_namespaces_are_left_and_joined_again_by_a_pidfd(in_child):
    answer = in_child("""
parent = os.pidfd_open(os.getppid())
ours = os.readlink("/proc/self/ns/uts")
sc.unshare(sc.CLONE_NEWUTS)
sc.sethostname("elsewhere")
there = (os.readlink("/proc/self/ns/uts"), socket.gethostname())
sc.setns(parent, sc.CLONE_NEWUTS)
print(json.dumps([there[0] != ours, there[1], os.readlink("/proc/self/ns/uts") == ours]))
""")
    assert answer == [True, "elsewhere", True]


def test_mounts_by_the_old_and_by_the_new_interface(in_child, tmp_path):
    answer = in_child(
        """
base = sys.argv[1]
for name in "abc":
    os.mkdir(f"{base}/{name}")
sc.unshare(sc.CLONE_NEWNS)
sc.mount(None, "/", None, sc.MS_REC | sc.MS_PRIVATE)
sc.mount("tmpfs", f"{base}/a", "tmpfs", sc.MS_NOSUID, "size=64k")
open(f"{base}/a/file", "w").write("x")
tree = sc.open_tree(f"{base}/a")
sc.mount_setattr(tree, attr_set=sc.MOUNT_ATTR_RDONLY)
sc.move_mount(tree, f"{base}/b")
fs = sc.fsopen("tmpfs")
sc.fsconfig_string(fs, "size", "64k")
sc.move_mount(sc.fsmount(fs, sc.MOUNT_ATTR_NOEXEC), f"{base}/c")
answers = [os.listdir(f"{base}/b"), outcome(open, f"{base}/b/new", "w"), os.path.ismount(f"{base}/c")]
sc.umount2(f"{base}/a", sc.MNT_DETACH)
print(json.dumps([*answers, os.listdir(f"{base}/a")]))
""",
        str(tmp_path),
    )
    assert answer == [["file"], "EROFS", True, []]


def test_an_idmapped_mount_shows_owners_through_the_user_namespace(in_child, tmp_path):
    answer = in_child(
        """
base = sys.argv[1]
os.mkdir(f"{base}/seen")
sc.unshare(sc.CLONE_NEWNS)
sc.mount(None, "/", None, sc.MS_REC | sc.MS_PRIVATE)
userns = user_namespace.create(user_namespace.FIRST_ID)
tree = sc.open_tree("/usr")
sc.mount_setattr(tree, attr_set=sc.MOUNT_ATTR_IDMAP, userns_fd=userns)
sc.move_mount(tree, f"{base}/seen")
print(json.dumps([os.stat("/usr/bin").st_uid, os.stat(f"{base}/seen/bin").st_uid - user_namespace.FIRST_ID]))
""",
        str(tmp_path),
    )
    assert answer == [0, 0]


def test_capabilities_read_back_as_they_were_set(in_child):
    assert in_child("""
sc.capset(effective=1 << 7, permitted=1 << 7 | 1 << 38, inheritable=0)
print(json.dumps(list(sc.capget())))
""") == [1 << 7, 1 << 7 | 1 << 38, 0]


def test_a_new_session_keyring_forgets_the_old_ones_keys(in_child):
    assert in_child("sc.join_new_session_keyring(); sc.join_new_session_keyring(); print('true')") is True


def test_the_name_and_the_switches_of_a_process(in_child):
    answer = in_child("""
sc.set_name("a-kernel"); sc.set_dumpable(dumpable=False); sc.set_child_subreaper(); sc.set_no_new_privs()
sc.set_parent_death_signal(signal.SIGTERM)
print(json.dumps([open("/proc/self/comm").read().strip(), sc.prctl(3), sc.prctl(sc.PR_GET_NO_NEW_PRIVS)]))
""")
    assert answer == ["a-kernel", 0, 1]
