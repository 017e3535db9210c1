"""The OpenAI Agents SDK for tests: loaded when the first test needs it, for it takes seconds; scripts for models."""

import importlib
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest

from tests.provider_servers import ProviderServer


class Sdk:
    """``agents`` and ``adapter`` are the SDK's module and ours."""

    def __init__(self) -> None:
        self.agents: ModuleType = importlib.import_module("agents")
        self.testing: ModuleType = importlib.import_module("agents.testing")
        self.adapter: ModuleType = importlib.import_module("podflare_nb.integrations.openai_agents")
        self.provider: ModuleType = importlib.import_module("agents.models.openai_provider")
        self.tool = self.adapter.podflare_code_interpreter
        self.run = self.agents.Runner.run
        self.agents.set_tracing_disabled(True)

    @staticmethod
    def module(name: str) -> ModuleType:
        """Another module of the SDK, or of ours for it."""
        return importlib.import_module(name)

    def model(self, tool_name: str, *calls: Any, name: str = "") -> Any:
        """Calls the tool with each of some arguments in turn, then says done."""
        steps = [
            [self.testing.function_call(tool_name, arguments, call_id=f"call_{name}{number}")]
            for number, arguments in enumerate(calls)
        ]
        return self.testing.ScriptedModel([*steps, [self.testing.assistant_message("done")]])

    def agent(self, tool: Any, *calls: Any, name: str = "analyst") -> Any:
        model = self.model("run_code", *calls, name=name)
        return self.agents.Agent(name=name, instructions="Run code.", tools=[tool], model=model)

    async def run_in(self, agent: Any, **where: Any) -> Any:
        """Run a sandbox agent with a client or in a session."""
        sandbox = self.module("agents.sandbox").SandboxRunConfig(**where)
        return await self.run(agent, "go", run_config=self.agents.RunConfig(sandbox=sandbox))

    @staticmethod
    def told(agent: Any) -> list[Any]:
        """What the agent's model was told, call by call."""
        said = agent.model.calls[-1].input
        return [item["output"] for item in said if item.get("type") == "function_call_output"]


@pytest.fixture(scope="session")
def sdk() -> Sdk:
    return Sdk()


@pytest.fixture
async def openai(sdk: Sdk, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProviderServer]:
    """The provider's server, to which the environment sends the SDK's real client."""
    for name, value in provider.env("openai").items():
        monkeypatch.setenv(name, value)
    yield provider
    # The SDK shares its connections among the event loops of a process; a test ends with its loop.
    await sdk.provider.shared_http_client().aclose()
    sdk.provider._http_client = None
