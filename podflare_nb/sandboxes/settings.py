"""What the live sandboxes are told at their start; ``app`` fills it in. Times in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..protocol.egress import INTERNET, OFF, Egress
from ..provisioning.kernelspec import TemplateSpec
from ..provisioning.network.addresses import Reach
from .outputs import OutputLimits

MAX_SHOWN = 500
"""Characters of a policy in a sentence."""


@dataclass(frozen=True, slots=True)
class ExecutionSettings:
    """How executions run. ``grace_seconds``: between the interrupt and the kill. ``quiet_seconds``: how long a
    kernel that has replied may be silent on iopub before its run counts as over without an idle."""

    output: OutputLimits = field(default_factory=OutputLimits)
    grace_seconds: float = 2.0
    quiet_seconds: float = 5.0
    max_queued: int = 100
    replay_events: int = 1000
    replay_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """``default``: of sandboxes whose template says nothing; ``most``: what the operator lets any of them have;
    ``isolated``: whether they have networks of their own; ``no_internet``: a sentence why this machine cannot give them
    the public internet, empty if it can."""

    default: Egress = INTERNET
    most: Egress = INTERNET
    reach: Reach = field(default_factory=Reach)
    isolated: bool = True
    no_internet: str = ""

    @property
    def why_no_internet(self) -> str:
        """A sentence why ``egress`` cannot be true here, whoever's reason it is; empty if it can."""
        if self.no_internet or self.most.mode == "internet":
            return self.no_internet
        return f"The operator lets sandboxes here reach at most: {self.most_shown}."

    @property
    def most_shown(self) -> str:
        """``most`` for a sentence, which 256 rules would make too long."""
        text = str(self.most)
        return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."

    def of(self, template: TemplateSpec) -> Egress:
        """What a sandbox of this template gets that asks for nothing."""
        egress = template.network or self.default
        return OFF if egress.mode == "internet" and self.no_internet else egress


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """What sandboxes there may be. A template's own times are the defaults; the maxima bound what a call asks for."""

    templates: Mapping[str, TemplateSpec]
    default_template: str
    max_live_per_tenant: int = 100
    max_timeout_seconds: int = 7 * 24 * 3600
    max_memory_mib: int = 64 * 1024
    max_disk_mib: int = 256 * 1024
    execution: ExecutionSettings = field(default_factory=ExecutionSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
