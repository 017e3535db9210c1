"""Directories that belong to one process: what one leaves that was killed is swept, what lives is not touched."""

import os
import signal

from podflare_nb.provisioning import claimed_directory
from podflare_nb.provisioning.claimed_directory import UNNAMED, ClaimedDirectory


def killed_owner_of(base, name):
    """Claim in a process of its own, which is killed."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        claimed = ClaimedDirectory(base, name)
        (claimed.path / "file").write_text("left")
        os.write(tell, b"x")
        signal.pause()
    assert os.read(ready, 1) == b"x"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ready)
    os.close(tell)


def test_what_a_killed_process_left_is_swept(tmp_path):
    killed_owner_of(tmp_path, "s-dead")
    assert (tmp_path / "s-dead" / "file").exists()
    claimed_directory.sweep(tmp_path, "s-")
    assert list(tmp_path.iterdir()) == []


def test_what_lives_and_what_is_called_otherwise_is_not_swept(tmp_path):
    (tmp_path / "other").mkdir()
    ours = ClaimedDirectory(tmp_path, "s-ours")
    claimed_directory.sweep(tmp_path, "s-")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "s-ours"]
    ours.remove()
    ours.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_directory_is_locked_before_it_has_its_name(tmp_path, monkeypatch):
    swept_while_unnamed = []

    def rename(self, target):
        claimed_directory.sweep(tmp_path, "s-")
        swept_while_unnamed.append(not self.exists())
        os.rename(self, target)  # noqa: PTH104 - it stands for Path.rename

    monkeypatch.setattr(claimed_directory.Path, "rename", rename)
    claimed = ClaimedDirectory(tmp_path, "s-ours")
    assert swept_while_unnamed == [False]
    claimed.remove()


def test_one_that_is_swept_in_the_moment_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    locked, looks = claimed_directory.lock_now, []

    def late(path):
        if not looks:
            looks.append(path)
            path.rmdir()
        return locked(path)

    monkeypatch.setattr(claimed_directory, "lock_now", late)
    claimed = ClaimedDirectory(tmp_path, "s-ours")
    assert looks == [tmp_path / f"{UNNAMED}s-ours"]
    assert claimed.path.is_dir()
    claimed.remove()
