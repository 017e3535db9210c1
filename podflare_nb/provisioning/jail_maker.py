"""Builds jails for kernels: one skeleton for all that see the same directories of the host, then one jail each."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from ..errors import NoCapacityError
from ..protocol.egress import Egress
from .branches import Branch
from .jail import skeleton
from .jail.build import JailError
from .jail.plan import Installed
from .jails import Jail, JailWorkshop, Seen
from .limits import Limits


class JailMaker:
    """``build`` makes a jail with its first branch."""

    def __init__(self, workshop: JailWorkshop) -> None:
        self._workshop = workshop
        self._serials = itertools.count(1)
        self._skeletons: dict[tuple[str, ...], asyncio.Future[Path]] = {}

    async def skeleton(self, sources: tuple[str, ...]) -> Path:
        """The skeleton for templates of these sources, made once: it takes half a second, in a thread."""
        if sources not in self._skeletons:
            path = self._workshop.skeletons / f"skeleton{len(self._skeletons)}"
            self._skeletons[sources] = asyncio.ensure_future(asyncio.to_thread(skeleton.build, path, sources))
        return await asyncio.shield(self._skeletons[sources])

    async def build(
        self, sources: tuple[str, ...], limits: Limits, egress: Egress | None, installed: Installed | None = None,
        image: Path | None = None,
    ) -> Branch:  # fmt: skip
        """``egress``: what it may reach, None for the operator's default; ``image``: a file that its disk is to be in,
        to be kept. Raises NoCapacityError."""
        workshop = self._workshop
        reached = workshop.networks.default(egress)
        try:
            skeleton = await self.skeleton(sources)
            jail = Jail(workshop, str(next(self._serials)), limits, Seen(skeleton, sources, installed), image)
            await jail.open(reached)
            try:
                return Branch.first(jail)
            except BaseException:
                await jail.close()
                raise
        except (OSError, JailError, IndexError) as error:
            raise NoCapacityError(f"A jail could not be built: {error}") from error
