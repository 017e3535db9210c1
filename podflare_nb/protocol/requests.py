"""What clients send, as types: strict, with nothing ignored. ``read`` turns a body into one, or says what is wrong.

Each field's description completes the sentence "timeout_seconds is -5; it must be ...". A null means that the
field was not given. Whether a value fits the tenant, the template and the machine is decided above.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from ..errors import InvalidArgumentError, TooLargeError
from .egress import MAX_RULE_CHARACTERS, MAX_RULES, Egress
from .states import Language, Speaker

MAX_CODE_BYTES = 1 << 20
UPLOAD_BEGINS = "import base64, os\nos.makedirs(os.path.dirname("
"""Code by which the published client uploads a file, "of up to a few MB", which it holds as base64."""
MAX_UPLOAD_BYTES = 4 << 20
"""Of such code: 3 MB of a file."""

MAX_MESSAGE_BYTES = 1 << 20
MAX_SECONDS = 86_400
MAX_SHOWN = 60
MAX_CHECKPOINTS = 100
MAX_CHILDREN = 32
MAX_WAIT_SECONDS = 600

Label = Annotated[str, StringConstraints(max_length=256)]
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
VariableValue = Annotated[str, StringConstraints(max_length=32_768, pattern=r"^[^\x00]*$")]

Seconds = Annotated[int | None, Field(ge=1, le=MAX_SECONDS, description="a whole number of seconds from 1 to 86400")]
Labels = Annotated[
    dict[LabelName, Label] | None,
    Field(
        max_length=64,
        description="an object of at most 64 strings, with names of up to 64 and values of up to 256 characters",
    ),
]
ShortText = Annotated[str | None, Field(max_length=200, description="a string of at most 200 characters")]
Message = Annotated[
    str,
    Field(
        min_length=1, pattern=r"^[^\x00]*$", description="a string that is not empty and has no NUL, of at most 1 MiB"
    ),
]
ModelName = Annotated[str | None, Field(max_length=200, pattern=r"^[^:]+:.+$", description="a string 'provider:name'")]
EGRESS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "boolean"},
        {
            "type": "object",
            "properties": {
                "allow": {
                    "type": "array",
                    "maxItems": MAX_RULES,
                    "items": {"type": "string", "minLength": 1, "maxLength": MAX_RULE_CHARACTERS},
                }
            },
            "required": ["allow"],
            "additionalProperties": False,
        },
        {"type": "null"},
    ]
}
EgressPolicy = Annotated[
    Any,
    PlainValidator(lambda value: None if value is None else Egress.from_json(value)),
    WithJsonSchema(EGRESS_SCHEMA),
    Field(description='true, false or an object {"allow": [rules]}'),
]


class Request(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CreateSandbox(Request):
    """``POST /v1/sandboxes``."""

    template: Annotated[str | None, Field(min_length=1, max_length=200, description="the name of a template")] = None
    timeout_seconds: Seconds = None
    idle_timeout_seconds: Seconds = None
    ram_mib: Annotated[int | None, Field(ge=128, le=65_536, description="a whole number of MiB from 128 to 65536")] = (
        None
    )
    rootfs_gb: Annotated[int | None, Field(ge=1, le=64, description="a whole number of GiB from 1 to 64")] = None
    persistent: Annotated[bool | None, Field(description="true or false")] = None
    egress: EgressPolicy = None
    labels: Labels = None
    checkpoints: Annotated[
        int | None, Field(ge=0, le=MAX_CHECKPOINTS, description="a whole number of turns from 0 to 100")
    ] = None
    env: Annotated[
        dict[VariableName, VariableValue] | None,
        Field(
            max_length=128,
            description="an object of at most 128 strings, whose names are letters, digits and _, "
            "and whose values have up to 32768 characters and no NUL",
        ),
    ] = None


class PatchSandbox(Request):
    """``PATCH /v1/sandboxes/{id}``. ``labels`` replaces all labels; times count from the sandbox's creation; ``egress``
    is that of all branches of its family."""

    timeout_seconds: Seconds = None
    idle_timeout_seconds: Seconds = None
    labels: Labels = None
    egress: EgressPolicy = None


class ExecutionOptions(Request):
    """Of whatever runs in a sandbox and becomes cells: how long it may take, and who it says that it is from."""

    timeout_seconds: Annotated[
        float | None,
        Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False, description="a number of seconds above 0, up to 86400"),
    ] = None
    turn_id: ShortText = None
    tool_call_id: ShortText = None
    operator: ShortText = None
    model: ModelName = None


class Exec(ExecutionOptions):
    """``POST /v1/sandboxes/{id}/exec``."""

    code: Annotated[str, Field(description="a string of program text, of at most 1 MiB")]
    language: Annotated[Language | None, Field(description="'python' or 'bash'")] = None


class Record(Request):
    """``POST /v1/sandboxes/{id}/record``: what an agent, or its user, said outside this service."""

    message: Message
    role: Annotated[Speaker | None, Field(description="'assistant' or 'user'")] = None
    turn_id: ShortText = None
    operator: ShortText = None
    model: ModelName = None


class Fork(Request):
    """``POST /v1/sandboxes/{id}/fork``."""

    n: Annotated[int, Field(ge=1, le=MAX_CHILDREN, description="a whole number from 1 to 32")] = 1
    wait_seconds: Annotated[
        float | None,
        Field(ge=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False, description="a number of seconds from 0 to 600"),
    ] = None
    strict: Annotated[bool | None, Field(description="true or false")] = None


class Diff(Request):
    """``POST /v1/sandboxes/{id}/diff``."""

    other: Annotated[str, Field(min_length=1, max_length=200, description="the id of another sandbox of the family")]


class Rewind(Request):
    """``POST /v1/sandboxes/{id}/rewind``."""

    turn_id: Annotated[str, Field(min_length=1, max_length=200, description="the id of a turn that was kept")]


class ChatMessage(Request):
    """``POST /v1/sandboxes/{id}/chat``."""

    message: Message
    model: Annotated[
        str | None, Field(min_length=1, max_length=200, description="'direct' or a string 'provider:name'")
    ] = None
    max_steps: Annotated[int | None, Field(ge=1, le=200, description="a whole number of steps from 1 to 200")] = None
    max_tokens: Annotated[
        int | None, Field(ge=1, le=10_000_000, description="a whole number of tokens from 1 to 10000000")
    ] = None
    timeout_seconds: Annotated[
        int | None, Field(ge=1, le=MAX_SECONDS, description="a whole number of seconds from 1 to 86400")
    ] = None
    approve: Annotated[str | None, Field(pattern="^(auto|ask)$", description="'auto' or 'ask'")] = None


class Approval(Request):
    """``POST /v1/sandboxes/{id}/chat/{turn_id}/approve``."""

    tool_call_id: Annotated[
        str, Field(min_length=1, max_length=200, description="the tool_call_id of an approval-request event")
    ]
    approved: Annotated[bool, Field(description="true or false")]


class Nothing(Request):
    """The body of a call that takes none: empty, or an empty object."""


R = TypeVar("R", bound=Request)


def read(kind: type[R], body: bytes) -> R:
    """Read a JSON body. An empty one is an empty object. Raises InvalidArgumentError with a sentence."""
    try:
        request = kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise _sentence(kind, error) from None
    if isinstance(request, Exec):
        is_upload = request.code.startswith(UPLOAD_BEGINS)
        _bounded("code", request.code, MAX_UPLOAD_BYTES if is_upload else MAX_CODE_BYTES)
        if request.language == "bash" and "\0" in request.code:
            raise InvalidArgumentError("code has a NUL character, which a program of bash cannot have; leave it out.")
    elif isinstance(request, ChatMessage | Record):
        _bounded("message", request.message, MAX_MESSAGE_BYTES)
    return request


def _bounded(field: str, text: str, limit: int) -> None:
    # Encoding is only worth its time when the limit is in reach: a character has four bytes at most.
    if len(text) * 4 > limit and (size := len(text.encode(errors="surrogatepass"))) > limit:
        raise TooLargeError(
            f"{field} has {size} bytes; the limit is {limit} ({limit >> 20} MiB). "
            "Put what is large into a file of the sandbox and read it from there.",
            field=field,
            limit=limit,
            size=size,
        )


def _sentence(kind: type[Request], error: ValidationError) -> InvalidArgumentError:
    """Say the first mistake in a sentence, and all of them in the details."""
    details = error.errors(include_url=False, include_context=False)
    first = details[0]
    if first["type"] == "json_invalid":
        reason = first["msg"].removeprefix("Invalid JSON: ")
        advice = " Half of a surrogate pair (\\ud800 to \\udfff) is no character." if "hex escape" in reason else ""
        return InvalidArgumentError(f"The request's body is not JSON: {reason}.{advice}")
    if not first["loc"]:
        return InvalidArgumentError("The request's body must be a JSON object.")
    fields = {str(detail["loc"][0]) for detail in details if detail["loc"]}
    return InvalidArgumentError(_explain(kind, first), fields=sorted(fields))


def _explain(kind: type[Request], mistake: ErrorDetails) -> str:
    field = str(mistake["loc"][0])
    allowed = kind.model_fields
    if mistake["type"] == "extra_forbidden" and len(mistake["loc"]) == 1:
        names = ", ".join(allowed) or "none"
        return f"There is no field {shown(field)}; the fields of this call are: {names}."
    if mistake["type"] == "missing" and len(mistake["loc"]) == 1:
        return f"{field} is missing; it must be {allowed[field].description}."
    inner = "".join(f"[{shown(part)}]" for part in mistake["loc"][1:] if part != "[key]")
    return (
        f"{field}{inner} is {shown(mistake['input'])}; {field if inner else 'it'} must be {allowed[field].description}."
    )


def shown(value: Any) -> str:
    """Show a value that a client sent, shortened."""
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
