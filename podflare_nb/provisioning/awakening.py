"""Wakes a checkpoint: makes a live kernel of its state and its files. The checkpoint sleeps on, to be woken again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import NoCapacityError, NotFoundError, PodflareError
from .births import Birth
from .branches import Branch
from .fork_files import because
from .jail import inside
from .jail.branching import Branching
from .kernel_sockets import KernelSockets
from .orders import ENDED
from .sleeping_kernel import SleepingKernel
from .supervised_kernel import SupervisedKernel

FORK_SECONDS = 25.0


async def wake(sleeper: SleepingKernel, new_sockets: Callable[[], KernelSockets]) -> SupervisedKernel:
    """Raises NotFoundError, ConflictError, NoCapacityError."""
    if sleeper.orders is None or sleeper.exited.done():
        raise NotFoundError(ENDED)
    jail = sleeper.jail
    with sleeper.orders.exclusively(), sleeper.group.birth():
        birth = Birth(jail)
        try:
            number = sleeper.orders.give("fork", [birth.theirs.fileno()], n=1)
            birth.theirs.close()
            branch = Branch(jail, jail.files.new_name(), sleeper.limits)
        except OSError as error:
            await birth.give_up()
            raise NoCapacityError(f"A control group could not be made: {error.strerror}.") from error
        except BaseException:
            await birth.give_up()
            raise
        kernel = SupervisedKernel(sleeper.template, branch, new_sockets())
        kernel.env = sleeper.env
        composing = asyncio.create_task(_compose(sleeper, branch, birth))
        waking = asyncio.create_task(birth.wake(kernel))
        try:
            forked = await sleeper.orders.hear({"forked", "refused"}, FORK_SECONDS, number)
            forked.close_fds()
            if forked.body["event"] == "refused" or forked.body.get("failed"):
                birth.fails(NoCapacityError("There was no room for another process."))
            await waking
        except BaseException:
            waking.cancel()
            await asyncio.gather(waking, return_exceptions=True)
            await birth.give_up()
            await kernel.kill()
            raise
        finally:
            composing.cancel()
            await asyncio.gather(composing, return_exceptions=True)
        return kernel


async def _compose(sleeper: SleepingKernel, branch: Branch, birth: Birth) -> None:
    jail = sleeper.jail
    below = jail.files.compact(sleeper.stack)
    stack = below.topped({tree.key: branch.name for tree in jail.plan.trees})
    jail.files.hold(branch, stack)
    new = branch.as_new()

    def work(tell: inside.Tell, host: int) -> None:
        Branching(jail.plan, tell, host).wake(new, sleeper.name, below)

    failure: PodflareError = NoCapacityError("The files of the fork could not be made.")
    try:
        async with asyncio.timeout(FORK_SECONDS), jail.errand(work) as errand:
            async for told in errand:
                if "failed" in told.body:
                    failure = because(OSError(told.body["errno"], told.body["error"]))
                else:
                    birth.has_files(stack, told.fds[0])
    except OSError as error:
        failure = because(error)
    finally:
        birth.fails(failure)
