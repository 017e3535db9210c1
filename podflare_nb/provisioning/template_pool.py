"""A template and what is kept ready of it: warm kernels, spare jails. Revives a template whose process died."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

from .branches import Branch
from .kernelspec import TemplateSpec
from .limits import Limits
from .pool import PoolCounts
from .supervised_kernel import SupervisedKernel
from .template_environments import TemplateEnvironments
from .templates import Installer, Template

log = logging.getLogger(__name__)


class TemplatePool:
    """``target`` warm kernels are wished for; ``starting`` are under way; ``waiting`` requests found none."""

    def __init__(self, spec: TemplateSpec, environments: TemplateEnvironments, system: Installer, caches: Path) -> None:
        self._new_template = partial(Template, spec, environments, system, caches)
        self.template = self._new_template()
        self.target = spec.pool_size
        self.warm: deque[SupervisedKernel] = deque()
        self.spare: deque[Branch] = deque()
        self.starting = 0
        self.waiting = 0
        self._reviving = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<TemplatePool {self.template!r} warm={len(self.warm)} spare={len(self.spare)}>"

    def counts(self) -> PoolCounts:
        """For ``pool.refill``."""
        return PoolCounts(self.target, len(self.warm), self.starting, self.waiting, len(self.spare))

    def fits(self, limits: Limits) -> bool:
        """Whether what is made ahead can be given these limits: memory, cpu and pids change, a disk's size does not."""
        usual = self.template.spec.limits
        return (limits.disk_mib, limits.inodes) == (usual.disk_mib, usual.inodes)

    def describe(self) -> dict[str, Any]:
        """The template and its state."""
        ready = self.template.ready
        failure = ready.exception() if ready.done() else None
        details = ready.result() if ready.done() and failure is None else {}
        state = "loading" if not ready.done() else "failed" if failure else "ready"
        return {
            "name": self.template.spec.name, "state": state, "error": str(failure) if failure else None,
            "warm": len(self.warm), "target": self.target, "language_info": details.get("language_info"),
        }  # fmt: skip

    async def revive(self) -> None:
        """A template whose process died is started anew, once for all who wait; kernels made from it live on."""
        lost = self.template
        async with self._reviving:
            if self.template is lost and lost.lost:
                log.error("The template %s ended; it is started again.", lost.spec.name)
                await lost.close()
                self.template = self._new_template()
                await self.template.start()
        await self.template.ready

    async def close(self) -> None:
        """End what is kept, and the template."""
        await asyncio.gather(*(kernel.kill() for kernel in self.warm), *(branch.end() for branch in self.spare))
        await self.template.close()
