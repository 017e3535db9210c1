"""Where the supervisor's own directories are, and whose they must be."""

import os
from pathlib import Path

import pytest

from podflare_nb.errors import IsolationError
from podflare_nb.provisioning import client
from podflare_nb.provisioning.supervisor import _make_base

SOMEBODY = 12_345
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="another user's files need root")


@pytest.mark.parametrize(
    ("mounted", "chosen"),
    [({"/dev/shm": "tmpfs"}, "/dev/shm"), ({"/run": "tmpfs", "/dev/shm": "tmpfs"}, "/run"), ({"/run": "ext4"}, "/run")],
)  # fmt: skip
def test_sockets_go_where_files_are_in_memory(monkeypatch, mounted, chosen):
    lines = [f"9 1 0:9 / {place} rw shared:1 - {kind} {kind} rw\n" for place, kind in mounted.items()]
    monkeypatch.setattr(Path, "read_text", lambda _: "".join(lines))
    assert str(client._in_memory(Path("/run"), Path("/dev/shm"))) == chosen


def test_a_directory_is_made_for_its_owner_alone(tmp_path):
    _make_base(tmp_path / "a" / "b", "")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    _make_base(tmp_path / "a" / "b", "")


@NEEDS_ROOT
def test_a_directory_of_somebody_else_is_refused(tmp_path):
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    with pytest.raises(IsolationError, match=r"belongs to somebody else\. Name another\."):
        _make_base(tmp_path, "Name another.")


@NEEDS_ROOT
def test_a_link_of_somebody_else_to_a_directory_of_ours_is_refused(tmp_path):
    """What is swept there would be whatever it leads to."""
    (tmp_path / "ours").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "ours")
    _make_base(link, "")
    os.lchown(link, SOMEBODY, SOMEBODY)
    with pytest.raises(IsolationError, match="belongs to somebody else"):
        _make_base(link, "")
