"""What a create asks for, checked against what there may be. Pure: a request and settings in, a plan or a refusal out.

Nothing is capped silently: what is over a bound is refused with the bound named, what cannot be had with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..errors import InvalidArgumentError, NoCapacityError, NotFoundError
from ..protocol.egress import Egress
from ..provisioning.kernelspec import TemplateSpec
from ..provisioning.limits import Limits
from .settings import NetworkSettings, SandboxSettings

MIN_MEMORY_MIB = 64
MIN_DISK_MIB = 16
MAX_LABELS, MAX_LABEL_CHARACTERS = 64, 1024


@dataclass(frozen=True, slots=True)
class CreateSpec:
    """A create as it was asked for; None: the template's own. ``rootfs_gb`` is in GiB, ``timeout_seconds`` from now."""

    template: str | None = None
    timeout_seconds: int | None = None
    idle_timeout_seconds: int | None = None
    ram_mib: int | None = None
    rootfs_gb: float | None = None
    persistent: bool = False
    egress: Egress | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    checkpoints: int = 0


@dataclass(frozen=True, slots=True)
class CreatePlan:
    """What is made. ``limits`` None: as the template has them, so that a kernel of the warm pool fits."""

    template: str
    timeout_seconds: int
    idle_timeout_seconds: int
    limits: Limits | None
    labels: Mapping[str, str]
    env: Mapping[str, str]
    checkpoints: int
    egress: Egress | None = None
    """None: as the template, or the operator, has it."""


def plan(spec: CreateSpec, settings: SandboxSettings) -> CreatePlan:
    """Make the plan. Raises NotFoundError for an unknown template, InvalidArgumentError for what cannot be had, and
    NoCapacityError for what this machine cannot give."""
    if spec.persistent:
        raise InvalidArgumentError(
            "persistent sandboxes are not available in this version: files end with the sandbox. "
            "Create it without persistent, and download what you want to keep."
        )
    template = find_template(spec.template, settings)
    timeout = template.timeout_seconds if spec.timeout_seconds is None else spec.timeout_seconds
    idle = template.idle_timeout_seconds if spec.idle_timeout_seconds is None else spec.idle_timeout_seconds
    check_seconds("timeout_seconds", timeout, settings)
    check_seconds("idle_timeout_seconds", idle, settings)
    check_labels(spec.labels)
    if spec.checkpoints and template.language != "python":
        raise InvalidArgumentError(
            f"checkpoints need a kernel that can fork; {template.name} is {template.language}. Create it without them."
        )
    if spec.egress is not None:
        check_egress(spec.egress, settings.network)
    egress = spec.egress if settings.network.isolated else None
    limits = _limits(spec, template, settings)
    return CreatePlan(template.name, timeout, idle, limits, spec.labels, spec.env, spec.checkpoints, egress)


def check_egress(egress: Egress, network: NetworkSettings) -> None:
    """Refuse a policy that cannot be had. Raises InvalidArgumentError, or NoCapacityError where it is the machine."""
    if not network.isolated and egress.mode != "internet":
        raise InvalidArgumentError(
            "egress cannot be limited here: the service runs without isolation (--isolation none), and code has the "
            "host's own network."
        )
    if egress.mode == "internet" and network.no_internet:
        raise NoCapacityError(f'{network.no_internet} Ask for egress by name, as in {{"allow": ["pypi.org"]}}.')
    if beyond := egress.beyond(network.most):
        what = "is true" if egress.mode == "internet" else f"allows '{beyond}'"
        raise InvalidArgumentError(
            f"egress {what}, which is more than the operator allows here. It may be at most: {network.most_shown}.",
            rule=beyond,
        )
    if (rule := network.reach.refused_rule(egress)) is not None:
        raise InvalidArgumentError(
            f"egress.allow has '{rule}', which is no public address. Private ranges can be named only where the "
            "operator opens them (--egress-private).",
            rule=str(rule),
        )


def find_template(name: str | None, settings: SandboxSettings) -> TemplateSpec:
    """The template of this name; None and ``default`` mean the configured one. Raises NotFoundError."""
    if name is None or (name == "default" and name not in settings.templates):
        name = settings.default_template
    template = settings.templates.get(name)
    if template is None:
        known = ", ".join(sorted(settings.templates)) or "none"
        raise NotFoundError(f"There is no template {name!r}. Templates are: {known}.")
    return template


def check_seconds(name: str, seconds: int, settings: SandboxSettings) -> None:
    """Refuse a time out of bounds. Raises InvalidArgumentError."""
    _bounded(name, seconds, 1, settings.max_timeout_seconds)


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that are too many or too long. Raises InvalidArgumentError."""
    if len(labels) > MAX_LABELS or any(len(text) > MAX_LABEL_CHARACTERS for item in labels.items() for text in item):
        raise InvalidArgumentError(
            f"labels may be {MAX_LABELS} at most, with keys and values of {MAX_LABEL_CHARACTERS} characters at most."
        )


def _limits(spec: CreateSpec, template: TemplateSpec, settings: SandboxSettings) -> Limits | None:
    limits = template.limits
    if spec.ram_mib is not None:
        _bounded("ram_mib", spec.ram_mib, MIN_MEMORY_MIB, settings.max_memory_mib)
        limits = replace(limits, memory_mib=spec.ram_mib)
    if spec.rootfs_gb is not None:
        _bounded("rootfs_gb", spec.rootfs_gb, MIN_DISK_MIB / 1024, settings.max_disk_mib / 1024)
        limits = replace(limits, disk_mib=int(spec.rootfs_gb * 1024))
    return None if limits == template.limits else limits


def _bounded(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidArgumentError(f"{name} must be between {least:g} and {most:g}; you gave {value:g}.")
