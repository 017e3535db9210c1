"""What is known of a transcript from its first moment: whose it is, and what its notebook runs on.

The header is the journal's first record, so that a transcript explains itself without any other book. A branch
has its parent's records before its own header, which a small file beside the journal repeats (``store``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

SCHEMA = 1
"""Version of the journal's records and of ``metadata.podflare_nb``."""

PYTHON_KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
PYTHON_LANGUAGE_INFO = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}


@dataclass(frozen=True, slots=True)
class ForkedFrom:
    """Where a branch comes from: the parent, its last ended turn, its cells at the time, and the time
    (seconds since the epoch). ``Transcript.position`` of the parent gives turn and cells."""

    sandbox_id: str
    turn_id: str | None
    cells: int
    at: float


@dataclass(frozen=True, slots=True)
class TranscriptHeader:
    """``kernelspec`` is ``{"name", "display_name", "language"}``; ``language_info`` as the kernel tells it.

    ``tenant_id`` is for the owner check of sandboxes that are closed; it is not shown in the notebook.
    """

    sandbox_id: str
    tenant_id: str
    template: str
    display_name: str
    created_at: datetime
    kernelspec: Mapping[str, Any] = field(default_factory=lambda: dict(PYTHON_KERNELSPEC))
    language_info: Mapping[str, Any] = field(default_factory=lambda: dict(PYTHON_LANGUAGE_INFO))
    forked_from: ForkedFrom | None = None

    def to_record(self) -> dict[str, Any]:
        """Make the first record that this transcript adds to its journal."""
        return {
            "t": "transcript",
            "schema": SCHEMA,
            "sandbox_id": self.sandbox_id,
            "tenant_id": self.tenant_id,
            "template": self.template,
            "display_name": self.display_name,
            "created_at": self.created_at.timestamp(),
            "kernelspec": dict(self.kernelspec),
            "language_info": dict(self.language_info),
            "forked_from": None if self.forked_from is None else asdict(self.forked_from),
        }


def header_of(sandbox_id: str, record: Mapping[str, Any] | None) -> TranscriptHeader:
    """Read the header back.

    Without one (power was lost before it reached the disk) the transcript belongs to no tenant, so that
    nobody is shown what may be somebody else's.
    """
    try:
        return _parsed(record or {})
    except (KeyError, TypeError, ValueError, OverflowError):
        return TranscriptHeader(sandbox_id, "", "unknown", "unknown", datetime.fromtimestamp(0, UTC))


def _parsed(record: Mapping[str, Any]) -> TranscriptHeader:
    origin = record["forked_from"]
    return TranscriptHeader(
        sandbox_id=str(record["sandbox_id"]),
        tenant_id=str(record["tenant_id"]),
        template=str(record["template"]),
        display_name=str(record["display_name"]),
        created_at=datetime.fromtimestamp(record["created_at"], UTC),
        kernelspec=dict(record["kernelspec"]),
        language_info=dict(record["language_info"]),
        forked_from=None if origin is None else ForkedFrom(**origin),
    )
