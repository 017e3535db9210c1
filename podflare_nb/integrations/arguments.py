"""What a model sent as a tool's arguments, checked against the tool's JSON Schema: a dictionary, or what is wrong.

Models leave arguments out, invent some and send numbers as text; each fault is a sentence that says how to call
the tool, never an exception. It knows the little of JSON Schema that our tools use: properties of one type or several,
``enum``, ``required``; nothing else is allowed beside the properties. What is in an array or object is not looked at.
Pure; ``code_tool`` and the adapters stand on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..protocol.observation import shorten

_SHOWN = 100
_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", dict: "an object"}


def read_arguments(arguments: object, schema: Mapping[str, Any]) -> dict[str, Any] | str:
    """Read a mapping, or its JSON text. Arguments that are null count as left out. A string says what is wrong."""
    if isinstance(arguments, str | bytes):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return f"The arguments are not JSON. {usage(schema)}"
    if not isinstance(arguments, Mapping):
        return f"The arguments are {_kind(arguments)}, not an object. {usage(schema)}"
    given = {name: value for name, value in arguments.items() if value is not None}
    fault = _fault(given, schema)
    return f"{fault} {usage(schema)}" if fault else given


def usage(schema: Mapping[str, Any]) -> str:
    """How to call the tool, in one sentence."""
    named = ", ".join(_described(name, schema) for name in schema["properties"])
    return f"Call it with {{{named}}}."


def _fault(given: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    properties: Mapping[str, Mapping[str, Any]] = schema["properties"]
    if extra := [name for name in given if name not in properties]:
        return f"There is no argument {shorten(', '.join(map(repr, extra)), _SHOWN)}."
    if missing := [name for name in schema.get("required", ()) if name not in given]:
        return f"The argument {', '.join(missing)} is missing."
    for name, value in given.items():
        wanted = _types(properties[name])
        if not any(_fits(value, each) for each in wanted):
            return f"The argument {name} is {_kind(value)}, not {' or '.join(map(_article, wanted))}."
        if "enum" in properties[name] and value not in properties[name]["enum"]:
            return f"The argument {name} cannot be {shorten(repr(value), _SHOWN)}."
        if isinstance(value, str) and _SURROGATE.search(value):
            return f"The argument {name} holds half of a surrogate pair, which is no character."
    return None


def _fits(value: object, wanted: str) -> bool:
    return isinstance(value, _TYPES[wanted]) and not (wanted == "integer" and isinstance(value, bool))


def _types(schema: Mapping[str, Any]) -> list[str]:
    """One or several."""
    return [schema["type"]] if isinstance(schema["type"], str) else list(schema["type"])


def _described(name: str, schema: Mapping[str, Any]) -> str:
    wanted = schema["properties"][name]
    values = " or ".join(json.dumps(value) for value in wanted.get("enum", ())) or " or ".join(_types(wanted))
    optional = "" if name in schema.get("required", ()) else " (may be left out)"
    return f'"{name}": {values}{optional}'


def _kind(value: object) -> str:
    """What a JSON value is, in words."""
    return "null" if value is None else _KINDS.get(type(value), _article(type(value).__name__))


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
