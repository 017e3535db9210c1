"""Services that a test may break: each its own, with templates that load in a moment."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..conftest import LOG, STOP_SECONDS, Service, start_service

KERNELSPEC = Path(__file__).parents[2] / "kernelspecs" / "python-minimal" / "kernel.json"


def light_templates(directory: Path, **settings: object) -> Path:
    """``python-minimal``, and in the place of ``python-datasci`` one that imports nothing: it loads in a moment."""
    for name in ("python-minimal", "python-datasci"):
        kernelspec = json.loads(KERNELSPEC.read_text())
        kernelspec["metadata"]["podflare_nb"] |= {
            "pool_size": int(name == "python-minimal"),
            "env": {"TEMPLATE": name},
            **settings,
        }
        kernelspec["metadata"]["kernel_provisioner"]["config"]["template"] = name
        (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / name / "kernel.json").write_text(json.dumps(kernelspec))
    return directory


def start(directory: Path, runtime_dir: Path | None = None, **settings: object) -> Service:
    """Start a service on ``directory``; on the same one again with the ``runtime_dir`` of the first."""
    templates = light_templates(directory / "templates", **settings)
    env = {"PODFLARE_NB_RUNTIME_DIR": str(runtime_dir)} if runtime_dir else {}
    service = start_service(directory / "data", "--template-dir", str(templates), env=env)
    if runtime_dir:
        service.runtime_dir.rmdir()
        service = replace(service, runtime_dir=runtime_dir)
    return service


def dispose(service: Service) -> None:
    """End it, if it has not ended, and take its runtime directory away."""
    if service.process.poll() is None:
        service.process.terminate()
        service.process.wait(STOP_SECONDS)
    print((service.data_dir / LOG).read_text(errors="replace"))  # noqa: T201 - pytest shows it beside a failure
    shutil.rmtree(service.runtime_dir, ignore_errors=True)


@contextmanager
def running(directory: Path, runtime_dir: Path | None = None, **settings: object) -> Iterator[Service]:
    service = start(directory, runtime_dir, **settings)
    try:
        yield service
    finally:
        dispose(service)
