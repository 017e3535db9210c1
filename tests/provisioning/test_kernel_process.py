"""A process that ended before anybody could take hold of it is one that has ended, not an error."""

import asyncio
import os
import signal

from podflare_nb.provisioning.kernel_process import KernelProcess


def ended_and_reaped(code: int) -> tuple[int, int]:
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    return os.waitpid(pid, 0)


async def test_a_kernel_that_its_template_reaped_already_has_the_status_that_the_template_tells():
    pid, status = ended_and_reaped(7)
    told: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    process = KernelProcess.of_template(pid, told)
    process.signal(signal.SIGKILL)
    assert not process.ended.done()
    told.set_result(status)
    assert os.waitstatus_to_exitcode(await process.ended) == 7
    await process.kill()
