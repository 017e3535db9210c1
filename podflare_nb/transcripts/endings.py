"""How a code cell's end shows: outputs that say what its own would not tell, tags, and metadata.

A cell that failed is tagged ``raises-exception``, so that the notebook runs again from top to bottom; one that
had to be stopped or that ended its kernel is tagged ``skip-execution``, too, because running it again would
hang, or end, the run; and so is one whose state a merge has replaced. Pure; ``cells`` and ``views`` stand above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .outputs import Output, clean_json, error, stream

STOPPED = {
    "interrupted": ("KeyboardInterrupt", "The code was interrupted."),
    "timeout": ("TimeoutError", "The code was ended at its deadline."),
    "died": ("KernelDied", "The kernel ended while this ran."),
}
"""Statuses of cells that did not end by themselves, and the error that is shown when the kernel gave none."""


def present(**values: Any) -> dict[str, Any]:
    """Keep what applies."""
    return {key: value for key, value in values.items() if value is not None}


def ending_outputs(end: Mapping[str, Any], *, has_error: bool) -> list[Output]:
    """Say what was cut, what was not recorded and why it ended. Raises for an end that cannot be read."""
    outputs = []
    if truncation := end.get("truncation"):
        produced, kept = truncation["produced_bytes"], truncation["kept_bytes"]
        outputs.append(stream("stderr", f"[output truncated: {produced:,} bytes were produced, {kept:,} were kept]\n"))
    if over := end.get("over"):
        outputs.append(over_budget(over))
    status, message = end.get("status"), end.get("message")
    if status in STOPPED and not has_error:
        ename, sentence = STOPPED[status]
        outputs.append(error(ename, message or sentence))
    return outputs


def over_budget(over: Mapping[str, Any]) -> Output:
    """Say that outputs were not recorded: ``{"budget", "outputs"?, "bytes"?}``, in bytes."""
    why = f"this notebook may record {over['budget']:,} bytes, and has"
    if "outputs" not in over:
        return stream("stderr", f"[what comes from here on is not recorded: {why}]\n")
    return stream("stderr", f"[{over['outputs']:,} outputs of {over['bytes']:,} bytes are not recorded: {why}]\n")


def ending_metadata(end: Mapping[str, Any], stamp: Mapping[str, Any], *, raised: bool) -> dict[str, Any]:
    """Make the metadata of a code cell; an empty ``end`` is that of one that runs.

    ``raised``: it has the output of an exception, as ``exit()`` has, whose status is ok.
    """
    end = clean_json(dict(end))
    status, exit_code = end.get("status", "running"), end.get("exit_code")
    metadata: dict[str, Any] = {
        "podflare_nb": {
            **stamp,
            "status": status,
            **present(
                exit_code=exit_code,
                message=end.get("message"),
                truncated=end.get("truncation"),
                over_budget=end.get("over"),
                state_preserved=None if end.get("state_preserved", True) else False,
            ),
        }
    }
    if timing := end.get("timing"):
        metadata["execution"] = dict(timing)
    tags = {
        "raises-exception": status in STOPPED or status == "error" or exit_code or raised,
        "skip-execution": status in STOPPED or "superseded_by" in stamp,
    }
    if any(tags.values()):
        metadata["tags"] = [tag for tag, applies in tags.items() if applies]
    return metadata
