"""A kernel's outputs as valid nbformat ones.

Kernels are their tenants': anything may arrive here (numbers where texts belong, NaN, lone surrogates, JSON a
thousand levels deep), and the notebook must be valid all the same. Pure; ``cells`` and ``views`` stand above.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

Output = dict[str, Any]

JSON_MIME = re.compile(r"^application/(.*\+)?json$")
MAX_DEPTH = 100


def clean_output(raw: Mapping[str, Any]) -> Output | None:
    """Make a valid output of what a kernel sent; None for a type that nbformat does not have."""
    kind = raw.get("output_type")
    if kind == "stream":
        return stream("stderr" if raw.get("name") == "stderr" else "stdout", raw.get("text"))
    if kind == "error":
        return error(raw.get("ename"), raw.get("evalue"), raw.get("traceback"))
    if kind in {"display_data", "execute_result"}:
        output = {"output_type": kind, **clean_bundle(raw)}
        if kind == "execute_result":
            output["execution_count"] = clean_count(raw.get("execution_count"))
        return output
    return None


def stream(name: str, text: Any) -> Output:
    """Make a stream output."""
    return {"output_type": "stream", "name": name, "text": clean_text(text)}


def error(ename: Any, evalue: Any, traceback: Any = None) -> Output:
    """Make an error output; without a traceback it gets the one line that viewers show."""
    ename, evalue = clean_text(ename) or "Error", clean_text(evalue)
    lines = [clean_text(line) for line in traceback] if isinstance(traceback, list) else []
    return {
        "output_type": "error",
        "ename": ename,
        "evalue": evalue,
        "traceback": lines or [f"{ename}: {evalue}"],
    }


def clean_bundle(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Make valid ``data`` and ``metadata`` of a display's."""
    data, metadata = raw.get("data"), raw.get("metadata")
    return {
        "data": {
            clean_text(mime): clean_json(value) if JSON_MIME.search(str(mime)) else clean_text(value)
            for mime, value in (data.items() if isinstance(data, Mapping) else ())
        },
        "metadata": clean_json(metadata) if isinstance(metadata, Mapping) else {},
    }


def clean_count(value: Any) -> int | None:
    """Make a valid execution count."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def clean_text(value: Any) -> str:
    """Make a text that UTF-8 can hold."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "".join(value)
    if not isinstance(value, str):
        value = "" if value is None else json.dumps(clean_json(value))
    text = str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def clean_json(value: Any, depth: int = 0) -> Any:
    """Make a value that strict JSON can hold of one that ``json`` parsed.

    No NaN, no lone surrogates, not deeper than MAX_DEPTH.
    """
    if isinstance(value, str):
        return clean_text(value)
    if not isinstance(value, dict | list):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if depth >= MAX_DEPTH:
        return "(deeper than can be recorded)"
    if isinstance(value, dict):
        return {clean_text(key): clean_json(item, depth + 1) for key, item in value.items()}
    return [clean_json(item, depth + 1) for item in value]
