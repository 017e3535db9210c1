"""The API's description: ``operations`` and the wire types, written out as one OpenAPI 3.1 document.

Pure. The handler of ``/v1/openapi.json`` serves it and scripts/generate_openapi.py keeps docs/openapi.json; nobody
writes it by hand.
"""

from __future__ import annotations

import re
from inspect import isclass
from typing import Any

from pydantic import BaseModel, RootModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from . import chat_events, exec_events, packages, terminals
from .operations import (
    BY_PATH,
    BYTES,
    COMMON_REFUSALS,
    IF_NONE_MATCH,
    JSON,
    OPERATIONS,
    PUBLIC_REFUSALS,
    REFUSALS,
    Answer,
    Body,
    Header,
    Operation,
    Parameter,
)
from .requests import Request
from .responses import ErrorBody, Response

REF = "#/components/schemas/{model}"
RETRY_AFTER = Header("Retry-After", "Seconds after which to try again.")
AUTHENTICATE = Header("WWW-Authenticate", "`Bearer`.")
REFUSAL_HEADERS = {401: AUTHENTICATE, 429: RETRY_AFTER, 503: RETRY_AFTER}
DESCRIPTION = (
    "One isolated, forkable Jupyter kernel for each sandbox; its notebook; an agent's chat. Streams are NDJSON: one "
    "JSON object a line, of the schema that is given. Clients skip events and fields that they do not know."
)
EVENTS: dict[str, Any] = {
    "ExecEvent": exec_events.ExecEvent,
    "InstallEvent": packages.InstallEvent,
    "ChatEvent": chat_events.ChatEvent,
    "TerminalEvent": terminals.TerminalEvent,
}
"""Unions that have a name in the document."""


def document(version: str, server: str = "/podflare") -> dict[str, Any]:
    """Give the document. ``server`` is the URL below which the paths are."""
    schemas = _Schemas()
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "podflare_nb",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "security": [{"key": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in OPERATIONS)],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
            "responses": {name: _refusal(status) for status, (name, _) in REFUSALS.items()},
            "schemas": schemas.all,
        },
    }


class _Schemas:
    """The schemas of all wire types, by name."""

    def __init__(self) -> None:
        kinds: dict[type[BaseModel], JsonSchemaMode] = {ErrorBody: "serialization"}
        for operation in OPERATIONS:
            if isclass(operation.body):
                kinds[operation.body] = "validation"
            for body in (body for answer in operation.answers for body in answer.bodies.values()):
                if isclass(body) and issubclass(body, Response | RootModel):
                    kinds[body] = "serialization"
        _, found = models_json_schema(list(kinds.items()), ref_template=REF)
        self.all: dict[str, Any] = dict(found["$defs"])
        for name, union in EVENTS.items():
            schema = TypeAdapter(union).json_schema(ref_template=REF, mode="serialization")
            self.all |= schema.pop("$defs") | {name: schema}
        self.all = {name: _tidy(schema) for name, schema in sorted(self.all.items())}

    def of(self, body: Body) -> dict[str, Any]:
        """Give the schema of a body, or a reference to it."""
        if isinstance(body, dict):
            return body
        for name, union in EVENTS.items():
            if body == union:
                return {"$ref": REF.format(model=name)}
        return {"$ref": REF.format(model=body.__name__)}


def _tidy(schema: Any) -> Any:
    """Leave out titles, which repeat the names, and write a docstring as Markdown."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {name: _tidy(value) for name, value in schema.items() if not (name == "title" and isinstance(value, str))}
    if isinstance(text := tidied.get("description"), str):
        tidied["description"] = _markdown(text)
    return tidied


def _markdown(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    in_path = [BY_PATH[name] for name in re.findall(r"{(\w+)}", operation.path)]
    parameters = [*in_path, *operation.parameters, *([IF_NONE_MATCH] if operation.cached else [])]
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
    }
    if operation.public:
        described["security"] = []
    if parameters:
        described["parameters"] = [_parameter(each) for each in parameters]
    if operation.body is not None:
        described["requestBody"] = _request_body(operation.body, schemas)
    described["responses"] = _responses(operation, schemas, has_path=bool(in_path))
    return described


def _responses(operation: Operation, schemas: _Schemas, *, has_path: bool) -> dict[str, Any]:
    answers = {str(answer.status): _answer(answer, schemas) for answer in operation.answers}
    if operation.cached:
        answers["304"] = {"description": "As `If-None-Match` has it."}
    refusals = {*operation.refusals, *(PUBLIC_REFUSALS if operation.public else COMMON_REFUSALS)}
    if has_path:
        refusals.add(400)  # a path that is not UTF-8
    for status in sorted(refusals):
        name, _ = REFUSALS[status]
        without_body = {key: value for key, value in _refusal(status).items() if key != "content"}
        answers[str(status)] = (
            without_body if operation.method == "head" else {"$ref": f"#/components/responses/{name}"}
        )
    return answers


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _request_body(body: type[Request] | dict[str, Any], schemas: _Schemas) -> dict[str, Any]:
    if isinstance(body, dict):
        return {"required": False, "content": {BYTES: {"schema": body}}}
    is_needed = any(field.is_required() for field in body.model_fields.values())
    return {"required": is_needed, "content": {JSON: {"schema": schemas.of(body)}}}


def _answer(answer: Answer, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    if answer.headers:
        described["headers"] = {header.name: _header(header) for header in answer.headers}
    if answer.bodies:
        described["content"] = {media: {"schema": schemas.of(body)} for media, body in answer.bodies.items()}
    return described


def _header(header: Header) -> dict[str, Any]:
    return {"description": header.description, "required": header.required, "schema": {"type": "string"}}


def _refusal(status: int) -> dict[str, Any]:
    _, description = REFUSALS[status]
    described: dict[str, Any] = {"description": description}
    if status in REFUSAL_HEADERS:
        header = REFUSAL_HEADERS[status]
        described["headers"] = {header.name: _header(header)}
    return {**described, "content": {JSON: {"schema": {"$ref": REF.format(model=ErrorBody.__name__)}}}}
