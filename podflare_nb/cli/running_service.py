"""The service that runs on this machine: the note that it leaves in its data directory, and its API key.

``serve`` writes both, mode 0600; the other commands read them, so that they need no options.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import NoCapacityError
from ..tenants.api_key import check_chosen, new_secret

NOTE = "service.json"
KEY_FILE = "api-key"


@dataclass(frozen=True, slots=True)
class RunningService:
    """Where it listens: ``url`` with ``/podflare`` at its end; ``pid`` of the server."""

    url: str
    pid: int


def write_note(data_dir: Path, service: RunningService) -> None:
    """Leave the note."""
    _write(data_dir / NOTE, json.dumps(asdict(service)))


def remove_note(data_dir: Path) -> None:
    """Take the note away."""
    (data_dir / NOTE).unlink(missing_ok=True)


def find(data_dir: Path) -> RunningService:
    """Find the running service. Raises NoCapacityError that says how to start one."""
    try:
        service = RunningService(**json.loads((data_dir / NOTE).read_text()))
        os.kill(service.pid, 0)
    except (FileNotFoundError, ProcessLookupError, ValueError, TypeError):
        raise NoCapacityError(
            f"No service runs with the data directory {data_dir}. Start one with 'podflare-nb serve', "
            "or name one with --url."
        ) from None
    except PermissionError:
        raise NoCapacityError(f"The service with the data directory {data_dir} is another user's.") from None
    return service


def read_key(data_dir: Path) -> str | None:
    """Read the service's API key; None when there is none yet."""
    try:
        return (data_dir / KEY_FILE).read_text().strip() or None
    except FileNotFoundError:
        return None
    except PermissionError:
        raise NoCapacityError(f"{data_dir / KEY_FILE} cannot be read by you; name a key with --api-key.") from None


def choose_key(data_dir: Path, given: str | None) -> str:
    """Decide on the service's key: the given one, else the one of the last start, else a new one; and keep it."""
    kept = read_key(data_dir)
    key = check_chosen(given) if given else kept or new_secret(secrets.token_bytes)
    if key != kept:
        _write(data_dir / KEY_FILE, key + "\n")
    return key


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    temporary.replace(path)
