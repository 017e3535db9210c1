"""What Jupyter's manager of kernels does with sandboxes, with stand-ins for them."""

import asyncio
import gc
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado import web
from traitlets.config import Config

from podflare_nb.provisioning.kernel_exit import KernelExit
from podflare_nb.provisioning.tenure import Tenure
from podflare_nb.tenants import shared_kernels
from podflare_nb.tenants.sandbox_kernel import kernel_id_of, sandbox_id_of
from podflare_nb.tenants.shared_kernels import SharedKernelManager
from podflare_nb.tenants.tenant import LOCAL_TENANT_ID

SANDBOX = "sbx_" + "0123456789abcdef" * 2
KERNEL = "01234567-89ab-cdef-0123-456789abcdef"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
PORTS = {f"{channel}_port": number for number, channel in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}


class StandInHandle:
    def __init__(self) -> None:
        self.connection_info = {"transport": "ipc", "ip": "/nowhere/kernel", "key": "a key", **PORTS}
        self.exited = asyncio.get_running_loop().create_future()


class StandInKeeper:
    def __init__(self) -> None:
        self.tenure = Tenure(StandInHandle())
        self.kills = 0

    @property
    def handle(self) -> StandInHandle:
        return self.tenure.handle

    def begin_kill(self) -> None:
        self.kills += 1
        self.replaced("killed")

    def replaced(self, cause: str) -> None:
        old, self.tenure = self.tenure, Tenure(StandInHandle())
        old.handle.exited.set_result(KernelExit(cause, "It ended."))
        old.pass_to(self.tenure)

    def ended(self) -> None:
        self.handle.exited.set_result(KernelExit("closed", "It was closed."))
        self.tenure.pass_to(None)


@dataclass
class StandInSandbox:
    id: str = SANDBOX
    tenant_id: str = LOCAL_TENANT_ID
    template: str = "python-minimal"
    state: str = "ready"
    last_active_at: datetime = LONG_AGO
    kernel: StandInKeeper = field(default_factory=StandInKeeper)


@pytest.fixture
async def sandbox():
    return StandInSandbox()


@pytest.fixture
async def manager(sandbox):
    manager = SharedKernelManager()
    shared_kernels.offer(manager, SimpleNamespace(live={SANDBOX: sandbox}))
    yield manager
    if manager._created_context:
        manager.context.destroy()


@pytest.fixture
def heard(manager):
    """What those attached are told, in order."""
    told = []
    kernel = manager.get_kernel(KERNEL)
    for event in ("restart", "dead"):
        kernel.add_restart_callback(lambda event=event: told.append(event), event)
    told.append(kernel)  # held, as a websocket holds it
    yield told
    kernel._callbacks = {"restart": [], "dead": []}
    kernel.remove_restart_callback(told.clear)


async def followed(heard) -> None:
    """Wait until the kernel's end has been followed up."""
    await asyncio.sleep(0)
    while heard[0]._following is not None:
        await asyncio.wait_for(heard[0]._following, 60)


def test_a_sandboxs_id_is_a_kernels_id_and_back():
    assert kernel_id_of(SANDBOX) == KERNEL
    assert sandbox_id_of(KERNEL) == SANDBOX
    for other in ("sbx_1", SANDBOX + "0", "", "../" + SANDBOX):
        assert kernel_id_of(other) is None
    for other in (KERNEL.upper(), KERNEL.replace("-", ""), KERNEL + "-", "a-b-c-d-e", ""):
        assert sandbox_id_of(other) is None


async def test_neither_jupyters_culler_nor_its_shutdown_touches_a_sandbox(manager, sandbox):
    manager.cull_idle_timeout = 1
    assert [model["id"] for model in manager.list_kernels()] == [KERNEL]
    assert manager.list_kernel_ids() == []
    await manager.cull_kernels()
    await manager.shutdown_all(now=True)
    assert sandbox.kernel.kills == 0
    assert KERNEL in manager


async def test_another_tenants_sandbox_is_not_offered_in_a_users_own_server(manager, sandbox):
    sandbox.tenant_id = "another"
    assert manager.list_kernels() == []
    for method in (manager.kernel_model, manager.get_kernel):
        with pytest.raises(web.HTTPError) as refused:
            method(KERNEL)
        assert refused.value.status_code == 404


async def test_a_sandbox_that_ends_is_offered_no_more(manager, sandbox):
    sandbox.state = "closing"
    assert KERNEL not in manager
    assert manager.list_kernels() == []


async def test_a_kernel_that_died_is_told_and_the_next_one_watched(heard, sandbox):
    for _ in range(3):
        sandbox.kernel.replaced("crashed")
        await followed(heard)
    assert heard[1:] == ["restart"] * 3


async def test_each_of_two_deaths_in_a_row_is_told(heard, sandbox):
    sandbox.kernel.replaced("crashed")
    sandbox.kernel.replaced("oom")
    await followed(heard)
    await followed(heard)
    assert heard[1:] == ["restart"] * 2


async def test_a_merge_is_no_death_and_the_winner_is_watched(heard, sandbox):
    sandbox.kernel.replaced("closed")
    await followed(heard)
    assert heard[1:] == []
    sandbox.kernel.replaced("oom")
    await followed(heard)
    assert heard[1:] == ["restart"]


async def test_a_restart_that_somebody_asked_for_is_no_death(manager, heard, sandbox):
    await manager.restart_kernel(KERNEL)
    await followed(heard)
    assert sandbox.kernel.kills == 1
    assert heard[1:] == []


async def test_the_end_of_a_sandbox_is_told(heard, sandbox):
    sandbox.state = "closing"
    sandbox.kernel.ended()
    await followed(heard)
    assert heard[1:] == ["dead"]


async def test_a_kernel_is_held_only_while_somebody_is_attached(manager):
    kernel = manager.get_kernel(KERNEL)
    assert manager.get_kernel(KERNEL) is kernel
    manager.notify_connect(KERNEL)
    assert manager.kernel_model(KERNEL)["connections"] == 1
    manager.notify_disconnect(KERNEL)
    manager.notify_disconnect(KERNEL)
    assert manager.kernel_model(KERNEL)["connections"] == 0
    del kernel
    gc.collect()
    assert not manager._attached


@pytest.fixture
def server():
    server = ServerApp()
    yield server
    GatewayClient.clear_instance()


def test_a_users_own_server_offers_sandboxes(server):
    shared_kernels.install(server)
    assert server.kernel_manager_class is SharedKernelManager


def test_a_server_with_a_manager_of_its_own_is_left_alone(server):
    server.update_config(Config({"ServerApp": {"kernel_manager_class": AsyncMappingKernelManager}}))
    shared_kernels.install(server)
    assert server.kernel_manager_class is AsyncMappingKernelManager


def test_a_server_behind_a_gateway_is_left_alone(server):
    server.update_config(Config({"GatewayClient": {"url": "http://127.0.0.1:1"}}))
    shared_kernels.install(server)
    server.gateway_config = GatewayClient.instance()
    assert not issubclass(server.kernel_manager_class, SharedKernelManager)
