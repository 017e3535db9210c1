"""Templates are kernelspecs: finds them and reads what their ``metadata.podflare_nb`` asks for.

A template is a kernelspec whose ``kernel_provisioner`` is ours, so that every Jupyter client can start it; whatever
else it needs stands in one namespaced dict. Reads files, starts nothing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import InvalidArgumentError
from ..protocol.egress import Egress
from ..protocol.requirements import debian_package, requirement
from .limits import Limits

PROVISIONER = "podflare-fork-provisioner"
NAME = re.compile(r"[a-zA-Z0-9._-]+")
EXAMPLES = {"python": "'polars>=1.0'", "apt": "'jq' or 'jq=1.6-2'"}
"""Of packages that a template can have."""


@dataclass(frozen=True, slots=True)
class TemplateSpec:
    """What to make sandboxes from. Times in seconds; ``python`` is the interpreter of the template's environment;
    ``packages``: Python requirements that are installed on top of it when the template is built, ``apt``: Debian
    packages that its sandboxes have; ``pool_size`` kernels are kept warm; ``network``: what its sandboxes may reach,
    None for the operator's default."""

    name: str
    display_name: str
    description: str
    language: str = "python"
    python: str = sys.executable
    packages: tuple[str, ...] = ()
    apt: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    network: Egress | None = None
    timeout_seconds: int = 8 * 3600
    idle_timeout_seconds: int = 1800
    pool_size: int = 4
    default: bool = False

    def to_json(self) -> dict[str, Any]:
        """As it travels to the supervisor."""
        body = {f.name: getattr(self, f.name) for f in fields(self)}
        body["network"] = None if self.network is None else self.network.to_json()
        body["limits"] = {f.name: getattr(self.limits, f.name) for f in fields(self.limits)}
        return body

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> TemplateSpec:
        """As it arrives there."""
        network = None if body["network"] is None else Egress.from_json(body["network"])
        lists = {name: tuple(body[name]) for name in ("packages", "apt", "preload")}
        return cls(**{**body, **lists, "limits": Limits(**body["limits"]), "network": network})

    def kernelspec(self) -> dict[str, str]:
        """The ``metadata.kernelspec`` of notebooks made with it (nbformat)."""
        return {"name": self.name, "display_name": self.display_name, "language": self.language}


def find(directories: Iterable[Path]) -> dict[str, TemplateSpec]:
    """Templates in kernelspec ``directories``, by name; the first directory that has a name wins, as with Jupyter.

    Raises InvalidArgumentError for a template that cannot be read, naming its file and the mistake.
    """
    found: dict[str, TemplateSpec] = {}
    for directory in directories:
        for path in sorted(directory.glob("*/kernel.json")):
            if path.parent.name not in found and (spec := read(path)) is not None:
                found[spec.name] = spec
    return found


def read(path: Path) -> TemplateSpec | None:
    """The template in one kernel.json; None if that kernelspec is not for our provisioner."""
    try:
        kernelspec = json.loads(path.read_text())
        provisioner = kernelspec.get("metadata", {}).get("kernel_provisioner", {})
    except (ValueError, AttributeError) as error:
        raise InvalidArgumentError(f"{path} is not a kernelspec: {error}.") from error
    if provisioner.get("provisioner_name") != PROVISIONER:
        return None
    name = path.parent.name
    if not NAME.fullmatch(name):
        raise InvalidArgumentError(f"{path}: a template's name has letters, digits, '.', '_' and '-' only.")
    wanted = dict(kernelspec["metadata"].get("podflare_nb", {}))
    try:
        wanted["limits"] = Limits(**wanted.get("limits", {}))
        wanted["network"] = _network(wanted.get("network"))
        wanted["packages"], wanted["apt"] = _packages(wanted.get("packages", {}))
        if wanted.get("python") is None:
            wanted.pop("python", None)
        wanted["preload"] = tuple(wanted.get("preload", ()))
        wanted.setdefault("description", kernelspec["display_name"])
        return TemplateSpec(
            name=name, display_name=kernelspec["display_name"], language=kernelspec["language"], **wanted
        )
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{path}: metadata.podflare_nb.{error.message}") from error
    except (TypeError, KeyError) as error:
        raise InvalidArgumentError(f"{path}: metadata.podflare_nb is wrong: {error}.") from error


def _network(wanted: Any) -> Egress | None:
    try:
        return None if wanted is None else Egress.from_json(wanted)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"network is wrong: {error.message}") from error


def _packages(wanted: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Python's and apt's, checked as what users ask for in a sandbox is. Others are not made part of a template."""
    if not isinstance(wanted, dict):
        raise InvalidArgumentError('packages must be an object such as {"python": ["polars>=1.0"], "apt": ["jq"]}.')
    if others := sorted(set(wanted) - {"python", "apt"}):
        raise InvalidArgumentError(f"packages has {', '.join(others)}; a template can have python and apt only.")
    return _listed(wanted, "python", requirement), _listed(wanted, "apt", debian_package)


def _listed(wanted: dict[str, Any], manager: str, check: Callable[[str], str]) -> tuple[str, ...]:
    listed = wanted.get(manager, [])
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise InvalidArgumentError(f"packages.{manager} must be a list of names such as {EXAMPLES[manager]}.")
    try:
        return tuple(check(each.strip()) for each in listed)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"packages is wrong: {error.message}") from error


def default_template(templates: Mapping[str, TemplateSpec]) -> str:
    """The template that an omitted name, or ``default``, means. Raises InvalidArgumentError if there are none."""
    for spec in templates.values():
        if spec.default:
            return spec.name
    if "python-datasci" in templates:
        return "python-datasci"
    if not templates:
        raise InvalidArgumentError(
            "No template is installed: install podflare_nb with its kernelspecs, or name a --template-dir."
        )
    return min(templates)


def with_pool_size(specs: Mapping[str, TemplateSpec], size: int | None) -> dict[str, TemplateSpec]:
    """``specs`` with every pool of ``size``; None leaves each as its kernelspec says."""
    return {name: spec if size is None else replace(spec, pool_size=size) for name, spec in specs.items()}
