"""authz.config.model_rules."""

from typing import Any

import pytest

from authz.config.changes import need_restart
from authz.config.rules import broken_rules, warnings
from authz.config.settings import Config
from authz.config.validation import validated


def _problems(models: Any, **more: Any) -> list[str]:
    config, problems = validated({"models": models, **more})
    return [message for _, message in problems] or list(broken_rules(config))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({}, "allow or deny is required"),
        ({"users": ["alice"]}, "allow or deny is required"),
        ({"allow": ["claude 3"]}, "must be a model name"),
        ({"allow": [""]}, "must be a model name"),
        ({"deny": ["a[bc]"]}, "must be a model name"),
        ({"deny": ["a" * 129]}, "must be a model name"),
        ({"tokens": ["short"], "deny": ["a"]}, "the 10 characters"),
        ({"tokens": ["Abcdefghi1"], "users": ["a"], "deny": ["a"]}, "a rule of their own"),
        ({"providers": ["nope"], "deny": ["a"]}, "no provider of one of these names"),
        ({"models": ["a"], "deny": ["a"]}, "unknown key"),
    ],
)
def test_rules_that_can_not_work(rule: dict[str, Any], said: str) -> None:
    """Each error names the problem, and no value is quoted."""
    assert said in "".join(_problems({"rules": [rule]}))


def test_what_rules_need() -> None:
    """Rules for groups need authz's own store, and other gateways can't have model rules."""
    rules = {"rules": [{"groups": ["labs"], "deny": ["a"]}]}
    assert "Coder does not tell" in _problems(rules, identity="https://coder.example")[0]
    gateways = {"routes": [{"name": "ai/a", "provider": "anthropic"}]}
    config, _ = validated({"models": rules, "external_gateways": gateways})
    assert any("external_gateways" in problem for problem in broken_rules(config))
    assert "rules or assigned: true is required" in _problems({"rules": []})[0]
    assert "store of authz's own" in _problems({"assigned": True}, identity="https://c.example")[0]
    assert _problems({"assigned": True}) == []
    assert _problems(rules) == []


def test_providers_that_take_further_models_are_named() -> None:
    """Such a provider is a warning, because the rules do not see its fallbacks."""
    router = {"name": "router", "type": "openrouter", "base_url": "https://openrouter.ai/api/v1"}
    values = {"providers": [router], "models": {"rules": [{"deny": ["a"]}]}}
    assert any("fallbacks" in line for line in warnings(Config.model_validate(values)))
    assert not any("fallbacks" in line for line in warnings(Config()))


def test_rules_can_be_reloaded() -> None:
    """Other rules need a reload only; the first ones need a restart."""

    def config(*deny: str) -> Config:
        return Config.model_validate({"models": {"rules": [{"deny": deny}]}})

    assert need_restart(config("a"), config("b")) == []
    assert "models" in need_restart(Config(), config("a"))
