"""authz.config.claude_code: settings of the sign-in from Claude Code."""

from typing import Any

import pytest
from pydantic import ValidationError

from authz.config.claude_code import ClaudeCode
from authz.config.settings import Config

PROVIDERS: list[dict[str, Any]] = [
    {"name": "openai", "type": "openai", "base_url": "https://a.test/v1"},
    {"name": "one", "type": "anthropic", "base_url": "https://a.test/"},
    {"name": "two", "type": "anthropic", "base_url": "https://b.test/"},
]


def _config(**settings: Any) -> Config:
    return Config.model_validate({"providers": PROVIDERS, **settings})


def test_the_root_has_the_first_provider_or_the_chosen_one() -> None:
    """All providers of type anthropic take part, and the chosen one is at the root."""
    assert [one.name for one in _config().claude_code_providers] == ["one", "two"]
    chosen = _config(sign_in={"claude_code": {"provider": "two"}})
    assert [one.name for one in chosen.claude_code_providers] == ["two", "one"]


def test_off() -> None:
    """The sign-in is off if it is switched off, and by default if Coder manages the users."""
    assert _config(sign_in={"claude_code": {"enabled": False}}).claude_code_providers == []
    assert _config(identity="https://coder.test").claude_code_providers == []
    _config(identity="https://coder.test", sign_in={"claude_code": {"enabled": False}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"identity": "https://coder.test", "sign_in": {"claude_code": {"provider": "one"}}},
            "Coder manages",
        ),
        ({"sign_in": {"claude_code": {"provider": "openai"}}}, "of type anthropic"),
        ({"sign_in": {"claude_code": {"provider": "nothing"}}}, "of type anthropic"),
        ({"sign_in": {"claude_code": {"token_lifetime": 60}}}, "greater than or equal to 600"),
        ({"sign_in": {"claude_code": {"refresh_grace": "2h"}}}, "less than or equal to 3600"),
        ({"sign_in": {"claude_code": {"models": [{"id": ""}]}}}, "at least 1 character"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    """A setting that can't work is refused with a sentence."""
    with pytest.raises(ValidationError, match=message):
        _config(**settings)


def test_the_first_entry_for_the_user_counts() -> None:
    """The first entry with one of the user's groups applies; one without groups is for all."""
    first = {"groups": ["a", "b"], "settings": {"x": 1}}
    second = {"groups": ["b"], "settings": {"x": 2}}
    limited = ClaudeCode.model_validate({"managed_settings": [first, second]})
    assert limited.settings_for({"b", "c"}) == {"x": 1}
    assert limited.settings_for({"c"}) is None
    for_all = ClaudeCode.model_validate({"managed_settings": [first, {"settings": {}}]})
    assert for_all.settings_for(set()) == {}
    with pytest.raises(ValidationError, match="put it last"):
        ClaudeCode.model_validate({"managed_settings": [{"settings": {}}, first]})
