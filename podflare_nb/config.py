"""Where things are and how much there may be: the service's configuration as one frozen record.

``app`` fills it from traitlets (command line, configuration files), ``cli`` from its options.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InvalidArgumentError
from .provisioning.client import Isolation
from .provisioning.network.config import NetworkConfig

NAME = "podflare_nb"


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """``template_dirs`` are looked through before the installed kernelspecs. None of ``default_template``,
    ``default_model``: the template or model that says of itself that it is the default; of ``pool_size``: as each
    template says."""

    data_dir: Path
    isolation: Isolation = "namespaces"
    template_dirs: tuple[Path, ...] = ()
    default_template: str | None = None
    default_model: str | None = None
    pool_size: int | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)


def pool_size_of(env: Mapping[str, str] = os.environ) -> int | None:
    """``$PODFLARE_NB_POOL_SIZE``: how many kernels to keep warm for each template. Raises InvalidArgumentError."""
    text = env.get("PODFLARE_NB_POOL_SIZE")
    if text is None:
        return None
    if not text.isdecimal():
        raise InvalidArgumentError(f"PODFLARE_NB_POOL_SIZE={text} is not a number of kernels.")
    return int(text)


def default_data_dir(env: Mapping[str, str] = os.environ) -> Path:
    """``$XDG_DATA_HOME/podflare_nb``, which is ``~/.local/share/podflare_nb`` unless somebody has moved it."""
    home = env.get("XDG_DATA_HOME")
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "share"
    return base / NAME


def kernelspec_dirs(configured: tuple[Path, ...]) -> list[Path]:
    """Where templates are looked for: configured directories first, then as Jupyter does."""
    from jupyter_core.paths import jupyter_path  # noqa: PLC0415 - the CLI's own commands do without Jupyter

    return [*configured, *(Path(path) for path in jupyter_path("kernels"))]
