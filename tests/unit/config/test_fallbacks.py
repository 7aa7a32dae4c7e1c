"""authz.config.fallbacks."""

from typing import Any

import pytest

from authz.config.fallbacks import fallback_problems
from authz.config.settings import Config


def _problems(first: dict[str, Any], second: dict[str, Any], **more: Any) -> list[str]:
    base = {"type": "openai", "base_url": "https://example.com/v1", "key": {"env": "KEY"}}
    providers = [{**base, "name": "one", **first}, {**base, "name": "two", **second}]
    return list(fallback_problems(Config.model_validate({"providers": providers, **more})))


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ({"fallback": ["two"]}, {}, None),
        ({"fallback": ["three"]}, {}, "fallback[0]: there is no provider three"),
        ({"fallback": ["one"]}, {}, "fallback[0]: must be another provider"),
        ({"fallback": ["two", "two"]}, {}, "fallback[1]: two appears twice"),
        ({"fallback": ["two"] * 5}, {}, "fallback: must have at most 4"),
        (
            {"fallback": ["two"]},
            {"type": "openai-compat"},
            "fallback[0]: two has type openai-",
        ),
        ({"fallback": ["two"]}, {"key": None}, "fallback[0]: two has no central key"),
        ({"fallback": ["two"], "key": None}, {}, "fallback: needs key or keys"),
        ({"fallback": ["two"], "retry_keys": False}, {}, "fallback: needs retry_keys"),
    ],
)
def test_fallback_providers(
    first: dict[str, Any], second: dict[str, Any], problem: str | None
) -> None:
    """A fallback provider is another one of the same type with a central key."""
    found = _problems(first, second)
    if problem is None:
        assert found == []
    else:
        assert any(one.startswith(f"providers[0].{problem}") for one in found)


@pytest.mark.parametrize(
    ("section", "is_refused"),
    [
        ({"models": {"rules": [{"allow": ["gpt-*"]}]}}, False),
        ({"models": {"rules": [{"allow": ["gpt-*"], "providers": ["one"]}]}}, True),
        ({"models": {"assigned": True}}, True),
        ({"budgets": {"strict": True}}, True),
        ({"budgets": {}}, False),
    ],
)
def test_sections_that_know_one_provider(section: dict[str, Any], is_refused: bool) -> None:
    """Rules that name providers, and strict budgets, are refused: they know only the first one."""
    assert bool(_problems({"fallback": ["two"]}, {}, **section)) is is_refused
