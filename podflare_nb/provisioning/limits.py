"""What a sandbox may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one sandbox. ``memory_mib``: all its processes together; ``cpus``: cores, fractions allowed."""

    memory_mib: int = 2048
    cpus: float = 2.0
    pids: int = 512
    disk_mib: int = 4096
    inodes: int = 400_000
