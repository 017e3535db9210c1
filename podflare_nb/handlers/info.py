"""What the service is and offers: whether it lives, what it can do, its templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from jupyter_server.auth.decorator import allow_unauthenticated
from tornado import web

from .. import __version__
from ..protocol import requests
from ..protocol.egress import Egress
from ..protocol.responses import (
    Capabilities,
    Features,
    ModelInfo,
    ModelList,
    NetworkFeatures,
    RequestLimits,
    SandboxLimits,
    TemplateInfo,
    TemplateList,
)
from ..sandboxes.settings import NetworkSettings, SandboxSettings
from ..tenants.tenant import Tenant
from .authorization import authorized
from .base import PodflareHandler
from .sandboxes import egress_shown
from .services import Services


class HealthHandler(PodflareHandler):
    """``GET /v1/healthz``: whether the service can be used; the only call that needs no key."""

    @allow_unauthenticated
    async def get(self) -> None:
        """Answer ``ok``, or 503 with the reason."""
        self.slot.check()
        await self.finish("ok", set_content_type="text/plain; charset=utf-8")


class CapabilitiesHandler(PodflareHandler):
    """``GET /v1/capabilities``."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:capabilities")
    async def get(self) -> None:
        """Tell isolation, templates, models and limits."""
        await self.answer(capabilities(await self.services(), self.who.tenant))


class TemplatesHandler(PodflareHandler):
    """``GET /v1/templates``."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:templates")
    async def get(self) -> None:
        """List templates and whether they are ready."""
        services = await self.services()
        states = await services.template_states()
        await self.answer(TemplateList(templates=template_list(services.settings, states)))


def capabilities(services: Services, tenant: Tenant) -> Capabilities:
    """Compose what the service tells of itself to a tenant."""
    models = [ModelInfo(**model) for model in services.chat.available_models()]
    settings = services.settings
    network = network_features(settings.network, settings.network.of(settings.templates[settings.default_template]))
    return Capabilities(
        version=__version__,
        isolation=services.isolation,
        layers=list(services.layers),
        templates=list(services.settings.templates),
        default_template=services.settings.default_template,
        models=ModelList(default=services.chat.default_model, available=models),
        limits=RequestLimits(
            max_code_bytes=requests.MAX_CODE_BYTES,
            max_seconds=requests.MAX_SECONDS,
            max_sandboxes=tenant.max_sandboxes,
            max_memory_mib=tenant.max_memory_mib,
        ),
        features=Features(fork=True, egress=network.internet, pty=True),
        network=network,
    )


def network_features(network: NetworkSettings, default: Egress) -> NetworkFeatures:
    """Compose what is told of networks."""
    return NetworkFeatures(
        default=egress_shown(default),
        most=egress_shown(network.most),
        internet=not network.why_no_internet,
        reason=network.why_no_internet or None,
        private=[str(each) for each in network.reach.private],
    )


def template_list(settings: SandboxSettings, states: Mapping[str, str]) -> list[TemplateInfo]:
    """Compose the list of templates."""
    return [
        TemplateInfo(
            name=spec.name,
            display_name=spec.display_name,
            description=spec.description,
            language=spec.language,
            limits=SandboxLimits(
                memory_mib=spec.limits.memory_mib,
                cpus=spec.limits.cpus,
                pids=spec.limits.pids,
                disk_mib=spec.limits.disk_mib,
            ),
            timeout_seconds=spec.timeout_seconds,
            idle_timeout_seconds=spec.idle_timeout_seconds,
            default=spec.name == settings.default_template,
            state=cast("Literal['ready', 'loading', 'failed']", states.get(spec.name, "loading")),
        )
        for spec in settings.templates.values()
    ]
