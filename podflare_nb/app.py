"""The server extension: reads configuration, builds the parts, mounts the routes. The one file that knows everyone.

Inside ``podflare-nb serve`` the services start with the server; inside a user's own JupyterLab they start when
somebody first uses them, so that the host pays nothing for having us installed. Whatever fails here becomes one
sentence, in the log and as the answer of our routes (503): the host server goes on.
"""

from __future__ import annotations

import asyncio
import gc
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from traitlets import Bool, List, Unicode
from traitlets import Enum as EnumTrait

from .chat.service import ChatService
from .config import ServiceConfig, default_data_dir, kernelspec_dirs, pool_size_of
from .errors import InvalidArgumentError, NoCapacityError, PodflareError
from .handlers.kept_answers import KeptAnswers
from .handlers.routes import ROUTES
from .handlers.services import SETTING, Services, ServicesSlot
from .protocol.responses import LayerInfo
from .provisioning import kernelspec
from .provisioning.client import Supervisor
from .provisioning.jail import layers
from .provisioning.kernelspec import TemplateSpec
from .provisioning.network.config import NetworkConfig
from .provisioning.reserve import Reserve
from .provisioning.respawning import RespawningSupervisor
from .sandboxes.branches import Admit, Branches
from .sandboxes.execution import ExecutionObserver
from .sandboxes.manager import SandboxManager
from .sandboxes.network_audit import NetworkAudit
from .sandboxes.sandbox import Sandbox
from .sandboxes.settings import NetworkSettings, SandboxSettings
from .storage.database import Database
from .storage.keys import ApiKeyRecords
from .storage.lock import DataLock
from .storage.sandboxes import SandboxRecords
from .storage.tenants import TenantRecords
from .tenants import shared_kernels
from .tenants.identity import TenantIdentityProvider
from .tenants.key_ring import KeyRing
from .tenants.quotas import Admissions
from .tenants.tenant import LOCAL_TENANT_ID, Tenant
from .transcripts.header import PYTHON_LANGUAGE_INFO, ForkedFrom, TranscriptHeader
from .transcripts.recorder import Recorder
from .transcripts.store import TranscriptStore

MOST_LIVE = 10_000
"""Of one tenant, by the sandboxes' own bookkeeping; a tenant's quota is what bounds it (``tenants.quotas``)."""

FOUND_LIVE = "The service ended without closing it (a crash, a kill or a power cut); its variables are lost."


def utc_now() -> datetime:
    """The service's clock."""
    return datetime.now(UTC)


class PodflareApp(ExtensionApp):
    """The extension as jupyter_server loads it."""

    name = "podflare_nb"
    extension_url = "/podflare"
    load_other_extensions = True

    data_dir = Unicode(
        help="Where the database and the notebooks are kept. Default: ~/.local/share/podflare_nb/jupyter."
    ).tag(config=True)
    isolation = EnumTrait(
        ["namespaces", "none"],
        default_value="namespaces",
        help="namespaces: every sandbox in a jail. none: no isolation at all, for code that you trust.",
    ).tag(config=True)
    template_dirs = List(
        Unicode(), help="Directories of kernelspecs to look for templates in, before Jupyter's own."
    ).tag(config=True)
    default_template = Unicode(help="The template of a sandbox that names none.").tag(config=True)
    default_model = Unicode(help="The model of a turn that names none, as provider:name.").tag(config=True)
    egress = Unicode(
        help="What sandboxes reach that ask for nothing else: true, false, or rules with commas between them. Default: "
        "egress_most."
    ).tag(config=True)
    egress_most = Unicode("true", help="The most that tenants may ask for, written as egress is.").tag(config=True)
    egress_private = List(Unicode(), help="Private ranges that tenants may name in egress rules.").tag(config=True)
    egress_public = List(Unicode(), help="Reserved ranges that count as public here.").tag(config=True)
    packages = Unicode(help="A TOML file of package indexes. Default: what this machine uses.").tag(config=True)
    eager = Bool(default_value=False, help="Start kernels with the server, not when somebody first asks for one.").tag(
        config=True
    )

    slot: ServicesSlot
    """Made by ``initialize_settings``."""

    def service_config(self) -> ServiceConfig:
        """Read the traits as one record."""
        return ServiceConfig(
            data_dir=Path(self.data_dir).expanduser() if self.data_dir else default_data_dir() / "jupyter",
            isolation="none" if self.isolation == "none" else "namespaces",
            template_dirs=tuple(Path(path).expanduser() for path in self.template_dirs),
            default_template=self.default_template or None,
            default_model=self.default_model or None,
            pool_size=pool_size_of(),
            network=NetworkConfig.written(
                egress=self.egress,
                most=self.egress_most,
                public=self.egress_public,
                private=self.egress_private,
                packages=self.packages,
            ),
        )

    def _link_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        """Take part in the server's configuration; jupyter_server calls it before it makes its parts."""
        super()._link_jupyter_server_extension(serverapp)
        shared_kernels.install(serverapp)

    def initialize_settings(self) -> None:
        """Open the database, so that keys are recognised; jupyter_server calls it when it loads us."""
        self._stack = AsyncExitStack()
        self._database: Database | None = None
        try:
            self._database = Database.open(self.service_config().data_dir)
            self._stack.callback(self._database.close)
            ring = KeyRing(TenantRecords(self._database), ApiKeyRecords(self._database), clock=utc_now)
            ring.ensure_tenant(LOCAL_TENANT_ID)
            self._stack.callback(ring.write_used)
            self.slot = ServicesSlot(ring, self._start_services)
        except PodflareError as error:
            self.slot = ServicesSlot(None, self._start_services)
            self._refuse(error)
        self.settings[SETTING] = self.slot
        identity = self.settings["identity_provider"]
        if isinstance(identity, TenantIdentityProvider):
            identity.ring = self.slot.ring

    def initialize_handlers(self) -> None:
        """Mount the routes; jupyter_server calls it after ``initialize_settings``."""
        self.handlers.extend(ROUTES)

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:  # noqa: ARG002 - Jupyter's signature
        """Start the services if they are to start with the server; jupyter_server calls it once its loop runs."""
        if self.eager:
            try:
                await self.slot.get()
            except PodflareError:
                self.log.debug("The services did not start; the slot tells why.")

    async def stop_extension(self) -> None:
        """End everything that was started; jupyter_server calls it when it ends."""
        await self.slot.close()
        await self._stack.aclose()

    async def _start_services(self) -> Services:
        """Start the services; the slot calls it once."""
        try:
            if self._database is None or self.slot.ring is None:
                raise NoCapacityError("The service has no database.")
            records = SandboxRecords(self._database)
            services = await start_services(self.service_config(), records, self.slot.ring.tenant, self._stack)
        except PodflareError as error:
            self._refuse(error)
            raise
        shared_kernels.offer(self.settings["kernel_manager"], services.sandboxes)
        return services

    def _refuse(self, error: PodflareError) -> None:
        self.slot.refuse(error)
        if not self.eager:
            self.log.warning("podflare_nb cannot be used here: %s", error.message)


async def start_services(
    config: ServiceConfig, records: SandboxRecords, tenant_of: Callable[[str], Tenant], stack: AsyncExitStack
) -> Services:
    """Start every part, in the order in which they stand on one another; ``stack`` ends them in reverse."""
    stack.enter_context(DataLock.take(config.data_dir))
    records.end_live("crashed", FOUND_LIVE, utc_now())
    allow_many_descriptors()
    templates = kernelspec.with_pool_size(kernelspec.find(kernelspec_dirs(config.template_dirs)), config.pool_size)
    default_template = choose_template(config.default_template, templates)
    check_most(config, templates.values())
    found = await asyncio.to_thread(layers.probe)
    layers.require(found, config.isolation)
    supervisor = await start_supervisor(config, templates, stack)
    settings = SandboxSettings(
        templates=templates,
        default_template=default_template,
        max_live_per_tenant=MOST_LIVE,
        network=network_settings(config, supervisor.no_internet),
    )
    kernels = await stack.enter_async_context(Reserve(supervisor, templates))
    transcripts = await stack.enter_async_context(TranscriptStore(config.data_dir / "transcripts"))
    chat = await stack.enter_async_context(ChatService(model=config.default_model))
    chat.warm()
    recording = Recording(transcripts, chat, settings)
    sandboxes = make_manager(kernels, records, recording, settings)
    admissions = Admissions()
    admit = admission_of_branches(admissions, tenant_of, sandboxes)
    branches = Branches(
        manager=sandboxes, records=records, notebooks=recording, settings=settings, admit=admit, clock=utc_now
    )
    chat.enable_branches(branches, sandboxes.close)
    stack.push_async_callback(recording.settle)
    stack.push_async_callback(branches.settle)
    stack.push_async_callback(sandboxes.aclose)
    kept_answers = KeptAnswers()
    stack.push_async_callback(kept_answers.aclose)
    keep_what_is_loaded()
    return Services(
        sandboxes=sandboxes,
        branches=branches,
        settings=settings,
        admissions=admissions,
        transcripts=transcripts,
        chat=chat,
        kept_answers=kept_answers,
        template_states=lambda: template_states(supervisor),
        isolation=config.isolation,
        layers=tuple(LayerInfo(name=each.name, available=each.available, detail=each.detail) for each in found),
    )


async def start_supervisor(
    config: ServiceConfig, templates: Mapping[str, TemplateSpec], stack: AsyncExitStack
) -> RespawningSupervisor:
    """Start what makes kernels; what it tells of their connections goes to the audit."""
    audit = NetworkAudit(config.data_dir, utc_now)
    stack.callback(audit.close)

    async def start() -> Supervisor:
        supervisor = await Supervisor.start(templates.values(), isolation=config.isolation, network=config.network)
        supervisor.audit(audit.write)
        return supervisor

    return await stack.enter_async_context(await RespawningSupervisor.begin(start))


def make_manager(
    kernels: Reserve, records: SandboxRecords, recording: Recording, settings: SandboxSettings
) -> SandboxManager:
    """Make what holds the sandboxes; their transcripts follow them."""
    return SandboxManager(
        kernels,
        records,
        recording.observer_for,
        settings,
        utc_now,
        on_end=recording.ended,
        on_turn=recording.turn_ended,
    )


def network_settings(config: ServiceConfig, no_internet: str) -> NetworkSettings:
    """What sandboxes may reach here."""
    isolated = config.isolation != "none"
    network = config.network
    return NetworkSettings(network.egress, network.most, network.reach, isolated=isolated, no_internet=no_internet)


def check_most(config: ServiceConfig, templates: Iterable[TemplateSpec]) -> None:
    """Refuse what would let a sandbox reach more than the operator's most. Raises InvalidArgumentError."""
    most = config.network.most
    if most.mode != "internet" and config.isolation == "none":
        raise InvalidArgumentError(
            "egress-most cannot hold with --isolation none: code has the host's own network. Leave out one of them."
        )
    for spec in templates:
        if spec.network is not None and (beyond := spec.network.beyond(most)):
            raise InvalidArgumentError(
                f"The template {spec.name} has {beyond} in its network, which is beyond egress-most ({most}). Narrow "
                "it in its kernel.json (metadata.podflare_nb.network), or widen egress-most."
            )


class Recording:
    """Ties a sandbox to its transcript: makes one at its start, and ends it once its last turn has been written.

    A branch's is a fork of its parent's; the rest is what branching does to notebooks (``lineage.Notebooks``).
    """

    def __init__(self, transcripts: TranscriptStore, chat: ChatService, settings: SandboxSettings) -> None:
        self._transcripts, self._chat, self._settings = transcripts, chat, settings
        self._endings: set[asyncio.Task[None]] = set()

    def observer_for(self, sandbox: Sandbox) -> ExecutionObserver:
        """Make the transcript of a new sandbox; its recorder is told of every execution."""
        spec = self._settings.templates[sandbox.template]
        header = TranscriptHeader(
            sandbox_id=sandbox.id,
            tenant_id=sandbox.tenant_id,
            template=sandbox.template,
            display_name=spec.display_name,
            created_at=sandbox.created_at,
            kernelspec=spec.kernelspec(),
            language_info=PYTHON_LANGUAGE_INFO,
        )
        origin = sandbox.origin
        if origin is None:
            return Recorder(self._transcripts.create(header))
        forked_from = ForkedFrom(origin.parent_id, origin.turn_id, origin.cells, origin.at.timestamp())
        parent = self._transcripts.open(origin.parent_id)
        return Recorder(self._transcripts.fork(parent, replace(header, forked_from=forked_from)))

    def turn_ended(self, sandbox: Sandbox, turn_id: str) -> None:
        """Record the end of a turn that was one execution; turns of the chat record theirs."""
        self._transcripts.open(sandbox.id).end_turn(turn_id, "ok")

    def position(self, sandbox_id: str) -> tuple[str | None, int]:
        """See ``lineage.Notebooks``."""
        return self._transcripts.open(sandbox_id).position()

    def check_no_turn(self, sandbox_id: str) -> None:
        """See ``lineage.Notebooks``."""
        self._chat.check_no_turn(sandbox_id)

    def merge(self, parent_id: str, winner_id: str, losers: Sequence[str]) -> None:
        """See ``lineage.Notebooks``."""
        self._transcripts.open(parent_id).merge(self._transcripts.open(winner_id), losers=losers)
        self._chat.notebook_changed(parent_id)

    def rewind(self, sandbox_id: str, turn_id: str, branch_id: str) -> None:
        """See ``lineage.Notebooks``."""
        self._transcripts.open(sandbox_id).rewind(turn_id, branch=branch_id)
        self._chat.notebook_changed(sandbox_id)

    async def nodes(self, *sandbox_ids: str) -> list[dict[str, Any]]:
        """See ``lineage.Notebooks``."""
        return [await self._transcripts.open(sandbox_id).outline() for sandbox_id in sandbox_ids]

    def ended(self, sandbox: Sandbox) -> None:
        """End the transcript of a sandbox that is over, whoever ended it."""
        task = asyncio.get_running_loop().create_task(self._end(sandbox))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _end(self, sandbox: Sandbox) -> None:
        await self._chat.forget(sandbox.id)
        if sandbox.end is not None:
            self._transcripts.open(sandbox.id).end(sandbox.end.reason, sandbox.end.message)

    async def settle(self) -> None:
        """Wait until what has ended is written."""
        await asyncio.gather(*self._endings, return_exceptions=True)


def admission_of_branches(
    admissions: Admissions, tenant_of: Callable[[str], Tenant], sandboxes: SandboxManager
) -> Admit:
    """Make what holds places for branches: each counts to its tenant's quotas before it exists, as a create does."""

    @contextmanager
    def admit(tenant_id: str, memory_mib: int, count: int) -> Iterator[None]:
        live = [each.limits.memory_mib for each in sandboxes.live.values() if each.tenant_id == tenant_id]
        with ExitStack() as places:
            for _ in range(count):
                places.enter_context(admissions.admit(tenant_of(tenant_id), live, memory_mib))
            yield

    return admit


async def template_states(supervisor: RespawningSupervisor) -> Mapping[str, str]:
    """Ask the supervisor which templates are ready."""
    described = await supervisor.describe()
    return {template["name"]: template["state"] for template in described["templates"]}


def choose_template(configured: str | None, templates: Mapping[str, TemplateSpec]) -> str:
    """Decide which template an omitted name means. Raises InvalidArgumentError."""
    if configured is None:
        return kernelspec.default_template(templates)
    if configured not in templates:
        known = ", ".join(sorted(templates)) or "none"
        raise InvalidArgumentError(f"The default template {configured!r} is not installed; there are: {known}.")
    return configured


def keep_what_is_loaded() -> None:
    """Spare the collector what is loaded by now: it need not walk through that in the middle of a request."""
    gc.collect()
    gc.freeze()


def allow_many_descriptors() -> None:
    """Raise our limit on open files as far as we may: a live sandbox holds about ten."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


launch_instance = PodflareApp.launch_instance
