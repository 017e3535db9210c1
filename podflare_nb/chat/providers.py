"""A chosen model, opened: pydantic-ai's model object on the provider's own SDK.

Imports pydantic-ai, so it is imported only when a turn needs a model. ``openai:`` means the Responses API at
OpenAI, and Chat Completions at any other base URL, because that is what every compatible server speaks;
``openai-chat:`` and ``openai-responses:`` choose one.
"""

from __future__ import annotations

from pydantic_ai.models import Model
from pydantic_ai.profiles import ModelProfile

from .models import ModelChoice

_TEST_ANSWER = "I am the test model: I run one cell and say this, whatever I am told."


def open_model(choice: ModelChoice) -> Model:
    """Make the model. Nothing is sent yet; enter it as a context to hold its connections between turns."""
    name = choice.provider.name
    if name == "test":
        from pydantic_ai.models.test import TestModel  # noqa: PLC0415  # each provider's SDK is a heavy import

        return TestModel(call_tools=["run_code"], custom_output_text=choice.model_id or _TEST_ANSWER)
    if name == "anthropic":
        from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415  # as above
        from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415  # as above

        return AnthropicModel(choice.model_id, provider=AnthropicProvider(api_key=choice.key, base_url=choice.base_url))
    if name == "google":
        from pydantic_ai.models.google import GoogleModel  # noqa: PLC0415  # as above
        from pydantic_ai.providers.google import GoogleProvider  # noqa: PLC0415  # as above

        return GoogleModel(choice.model_id, provider=GoogleProvider(api_key=choice.key or ""))
    return _open_openai(choice)


def _open_openai(choice: ModelChoice) -> Model:
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel  # noqa: PLC0415  # as above
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415  # as above
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider  # noqa: PLC0415  # as above

    name, url = choice.provider.name, choice.base_url
    profile = None if choice.sees_images else ModelProfile(supports_image_input=False)
    provider = (
        OpenAICompatibleProvider(name, base_url=url, api_key=choice.key)
        if choice.elsewhere and url is not None
        else OpenAIProvider(api_key=choice.key, base_url=url)
    )
    if name == "openai-responses" or (name == "openai" and not choice.elsewhere):
        return OpenAIResponsesModel(choice.model_id, provider=provider, profile=profile)
    return OpenAIChatModel(choice.model_id, provider=provider, profile=profile)
