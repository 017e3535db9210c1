"""Which language models there are: from ``provider:name`` and the environment to a choice, or to a sentence why not.

Keys come from the environment of the service and never from a request. Pure and cheap: nothing of pydantic-ai is
imported here; ``providers`` opens what was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from urllib.parse import urlsplit

from ..errors import InvalidArgumentError

DIRECT = "direct"
MODEL_VARIABLE = "PODFLARE_NB_MODEL"
"""The configured default model, as ``provider:name``."""
SEES_VARIABLE = "PODFLARE_NB_MODEL_SEES_IMAGES"
"""``1``: models at a server of one's own are given images; many of them refuse a request that holds one."""
_OPENAI_HOST = "api.openai.com"


@dataclass(frozen=True, slots=True)
class Provider:
    """``key`` and ``url`` name environment variables; ``package`` is the SDK that speaks to it."""

    name: str
    label: str
    key: str | None
    package: str
    url: str | None = None
    default_url: str | None = None
    suggested: tuple[tuple[str, str], ...] = ()
    """Model ids and their labels; the first is the provider's default."""


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            "anthropic",
            "Anthropic",
            "ANTHROPIC_API_KEY",
            "anthropic",
            "ANTHROPIC_BASE_URL",
            suggested=(
                ("claude-sonnet-5-5", "Claude Sonnet 5.5"),
                ("claude-opus-5-5", "Claude Opus 5.5"),
                ("claude-haiku-5-5", "Claude Haiku 5.5"),
            ),
        ),
        Provider(
            "openai",
            "OpenAI",
            "OPENAI_API_KEY",
            "openai",
            "OPENAI_BASE_URL",
            suggested=(("gpt-6.1-sol", "GPT-6.1 Sol"), ("gpt-6.1-terra", "GPT-6.1 Terra")),
        ),
        Provider("openai-chat", "OpenAI (Chat Completions)", "OPENAI_API_KEY", "openai", "OPENAI_BASE_URL"),
        Provider("openai-responses", "OpenAI (Responses)", "OPENAI_API_KEY", "openai", "OPENAI_BASE_URL"),
        Provider(
            "google",
            "Google",
            "GOOGLE_API_KEY",
            "google.genai",
            suggested=(("gemini-3.8-flash", "Gemini 3.8 Flash"),),
        ),
        Provider("groq", "Groq", "GROQ_API_KEY", "openai", default_url="https://api.groq.com/openai/v1"),
        Provider("ollama", "Ollama", None, "openai", "OLLAMA_BASE_URL", default_url="http://127.0.0.1:11434/v1"),
        Provider("test", "Test", None, "pydantic_ai"),
    )
}
_ALIASES = {"google-gla": "google"}
_NO_KEY = "not-needed"
"""Sent to a server of one's own that asks for no key: the SDK wants one."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that can be opened. ``name`` is ``provider:id`` as it is shown and recorded."""

    provider: Provider
    model_id: str
    key: str | None
    base_url: str | None
    sees_images: bool = True

    @property
    def elsewhere(self) -> bool:
        """Whether it speaks OpenAI's protocol at a server that is not OpenAI's."""
        url = self.base_url
        return self.provider.package == "openai" and url is not None and urlsplit(url).hostname != _OPENAI_HOST

    @property
    def name(self) -> str:
        """``provider:id``; plain ``test`` for the test model."""
        return f"{self.provider.name}:{self.model_id}" if self.model_id else self.provider.name

    def __repr__(self) -> str:
        return f"<ModelChoice {self.name}>"  # never the key


def _installed(package: str) -> bool:
    try:
        return find_spec("pydantic_ai") is not None and find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def choose(name: str, env: Mapping[str, str], installed: Callable[[str], bool] = _installed) -> ModelChoice | None:
    """The model of that name; None for the direct agent. Raises InvalidArgumentError with what to do."""
    if name == DIRECT:
        return None
    provider_name, _, model_id = name.partition(":")
    provider_name = _ALIASES.get(provider_name, provider_name)
    provider = PROVIDERS.get(provider_name)
    if provider is None:
        known = ", ".join(sorted(PROVIDERS))
        raise InvalidArgumentError(
            f"There is no model {name!r}. Write it as provider:name, with one of the providers {known}, or 'direct'.",
            providers=sorted(PROVIDERS),
        )
    if provider_name != "test" and not model_id:
        raise InvalidArgumentError(f"{name!r} names a provider but no model. Write {provider_name}:<the model's name>.")
    if not installed(provider.package):
        package = provider.package.replace("google.genai", "google-genai")
        raise InvalidArgumentError(
            f"{provider.label} models need packages that are not installed in the service's environment. Install them: "
            f"pip install 'podflare_nb[agents]' {package}."
        )
    base_url = (env.get(provider.url) if provider.url else None) or provider.default_url
    choice = ModelChoice(provider, model_id, _key(provider, env, base_url), base_url)
    return replace(choice, sees_images=not choice.elsewhere or env.get(SEES_VARIABLE) == "1")


def _key(provider: Provider, env: Mapping[str, str], base_url: str | None) -> str | None:
    if provider.key is None:
        return _NO_KEY
    if key := env.get(provider.key, "").strip():
        return key
    if base_url is not None and provider.package == "openai" and provider.default_url is None:
        return _NO_KEY
    alternative = (
        f", or {provider.url} for a server of your own" if provider.package == "openai" and provider.url else ""
    )
    raise InvalidArgumentError(
        f"There is no key for {provider.label}. Set {provider.key}{alternative} in the environment of the service and "
        "start it again, or choose the model 'direct'.",
        variable=provider.key,
    )


def available(
    env: Mapping[str, str], configured: str | None = None, installed: Callable[[str], bool] = _installed
) -> list[dict[str, str]]:
    """Models that would work now, as ``{"name", "label"}``: the configured one, the suggested ones with a key, direct.

    Others work, too, by their name: this is a list to choose from.
    """
    labels: dict[str, str] = {}
    if (wanted := configured or env.get(MODEL_VARIABLE)) and _works(wanted, env, installed):
        labels[wanted] = _label(wanted)
    for provider in PROVIDERS.values():
        if provider.url is not None and env.get(provider.url) and provider.name == "openai":
            continue  # another's server: it does not have OpenAI's models
        for model_id, label in provider.suggested:
            name = f"{provider.name}:{model_id}"
            if _works(name, env, installed):
                labels.setdefault(name, label)
    labels[DIRECT] = "Direct: runs your code, no model"
    return [{"name": name, "label": label} for name, label in labels.items()]


def default_model(
    env: Mapping[str, str], configured: str | None = None, installed: Callable[[str], bool] = _installed
) -> str:
    """The configured model, else the first suggested one of a provider whose key is set, else ``direct``.

    A configured model that cannot work is kept: the turn then says what is missing, instead of another model
    answering unasked.
    """
    if wanted := configured or env.get(MODEL_VARIABLE):
        return wanted
    return available(env, None, installed)[0]["name"]


def _works(name: str, env: Mapping[str, str], installed: Callable[[str], bool]) -> bool:
    try:
        choose(name, env, installed)
    except InvalidArgumentError:
        return False
    return True


def _label(name: str) -> str:
    provider_name, _, model_id = name.partition(":")
    provider = PROVIDERS.get(_ALIASES.get(provider_name, provider_name))
    labels = dict(provider.suggested) if provider else {}
    return labels.get(model_id) or model_id or name
