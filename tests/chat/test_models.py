import pytest

from podflare_nb.chat.models import available, choose, default_model
from podflare_nb.errors import InvalidArgumentError

ANTHROPIC = {"ANTHROPIC_API_KEY": "a"}
OPENAI = {"OPENAI_API_KEY": "o"}


def everything_installed(_: str) -> bool:
    return True


def nothing_installed(_: str) -> bool:
    return False


def names(env, configured=None):
    return [model["name"] for model in available(env, configured, everything_installed)]


def test_without_any_key_there_is_only_direct():
    assert names({}) == ["direct"]
    assert default_model({}, None, everything_installed) == "direct"


def test_a_key_makes_its_providers_models_available_and_its_first_the_default():
    assert default_model(ANTHROPIC, None, everything_installed) == names(ANTHROPIC)[0]
    assert names(ANTHROPIC)[0].startswith("anthropic:")
    assert names(OPENAI)[0].startswith("openai:")
    assert names(ANTHROPIC | OPENAI)[-1] == "direct"


def test_the_configured_model_comes_first():
    env = ANTHROPIC | {"PODFLARE_NB_MODEL": "anthropic:claude-haiku-5-5"}
    assert default_model(env, None, everything_installed) == "anthropic:claude-haiku-5-5"
    assert default_model(env, "direct", everything_installed) == "direct"
    assert names(env)[0] == "anthropic:claude-haiku-5-5"


def test_a_server_of_ones_own_needs_no_key_and_has_none_of_openais_models():
    env = {"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1", "PODFLARE_NB_MODEL": "openai:qwen"}
    assert names(env) == ["openai:qwen", "direct"]
    choice = choose("openai:qwen", env, everything_installed)
    assert choice.base_url == "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("name", "env", "said"),
    [
        ("anthropic:claude", {}, "Set ANTHROPIC_API_KEY"),
        ("openai:gpt", {}, "Set OPENAI_API_KEY, or OPENAI_BASE_URL"),
        ("groq:llama", {}, "Set GROQ_API_KEY"),
        ("google-gla:gemini", {}, "Set GOOGLE_API_KEY"),
        ("anthropic:claude", {"ANTHROPIC_API_KEY": " "}, "Set ANTHROPIC_API_KEY"),
        ("anthropic", ANTHROPIC, "anthropic:<the model's name>"),
        ("acme:one", {}, "no model 'acme:one'"),
        ("", {}, "no model ''"),
    ],
)
def test_a_model_that_cannot_work_is_refused_with_what_to_set(name, env, said):
    with pytest.raises(InvalidArgumentError) as refused:
        choose(name, env, everything_installed)
    assert said in refused.value.message


def test_missing_packages_are_named():
    with pytest.raises(InvalidArgumentError, match=r"podflare_nb\[agents\]"):
        choose("anthropic:claude", ANTHROPIC, nothing_installed)


def test_a_choice_never_shows_its_key():
    assert "sk-1" not in repr(choose("anthropic:claude", {"ANTHROPIC_API_KEY": "sk-1"}, everything_installed))
