"""A session's workspace into a tar archive and back.

The archive lies in the workspace while it is carried, the one place that commands and the files' API both reach; so
the workspace's disk must hold it as well. ``session`` stands on it.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from agents.sandbox import WorkspaceArchiveReadError, WorkspaceArchiveWriteError, WorkspaceWriteTypeError
from agents.sandbox.session.tar_workspace import shell_tar_exclude_args
from agents.sandbox.util.tar_utils import UnsafeTarMemberError, validate_tar_bytes

from .state import WORKSPACE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .session import PodflareSandboxSession

_SHOWN = 2_000
_SPECIAL = r"find . \( -type b -o -type c -o -type p \)"
"""Devices and pipes, which ``unpack`` would refuse; sockets are passed over by tar itself."""


async def pack(session: PodflareSandboxSession, skipped: Iterable[Path]) -> io.IOBase:
    """Give the workspace's archive, without the ``skipped`` paths; raises WorkspaceArchiveReadError."""
    archive = _name(session)
    excluded = [*shell_tar_exclude_args(skipped), f"--exclude=./{archive}"]
    try:
        # The second name of a file is packed as a file of its own: a hard link would be refused as well.
        options = f"{' '.join(excluded)} --anchored --no-wildcards -X - --hard-dereference"
        packed = await session.exec("sh", "-c", f"{_SPECIAL} | tar {options} -cf {archive} .", shell=False)
        if not packed.ok():
            raise WorkspaceArchiveReadError(path=_root(session), context=_refusal(packed.stderr))
        return await session.read(_root(session) / archive)
    finally:
        await _discard(session, archive)


async def unpack(session: PodflareSandboxSession, data: io.IOBase) -> None:
    """Unpack over what is there; raises WorkspaceArchiveWriteError for members that would leave the workspace."""
    root, archive = _root(session), _name(session)
    payload = data.read()
    if not isinstance(payload, bytes | bytearray):
        raise WorkspaceWriteTypeError(path=root, actual_type=type(payload).__name__)
    try:
        # A link that leads out of the workspace (a virtual environment has such) is one in the jail all the same; what
        # would be written through a link of the archive is refused.
        validate_tar_bytes(bytes(payload), allow_external_symlink_targets=True)
    except UnsafeTarMemberError as error:
        context: dict[str, object] = {"reason": "unsafe_or_invalid_tar", "member": error.member}
        raise WorkspaceArchiveWriteError(path=root, context=context, cause=error) from error
    try:
        await session.write(root / archive, io.BytesIO(bytes(payload)))
        unpacked = await session.exec("tar", "--no-same-owner", "-xf", archive, shell=False)
        if not unpacked.ok():
            raise WorkspaceArchiveWriteError(path=root, context=_refusal(unpacked.stderr))
    finally:
        await _discard(session, archive)


def _root(session: PodflareSandboxSession) -> Path:
    return session.normalize_path(WORKSPACE)


def _name(session: PodflareSandboxSession) -> str:
    return f".podflare-{session.state.session_id.hex}.tar"


async def _discard(session: PodflareSandboxSession, archive: str) -> None:
    if await session.sandbox.files.exists(archive):
        await session.sandbox.files.delete(archive)


def _refusal(stderr: bytes) -> dict[str, object]:
    return {"reason": "tar_failed", "stderr": stderr.decode(errors="replace")[-_SHOWN:]}
