"""authz.cli.assigned: ``authz limits`` and ``authz models``."""

import json
from pathlib import Path

import pytest

from authz.errors import ConfigError, StoreError

from .conftest import Run

_ON = "limits: {shared: {}}\nmodels: {assigned: true}"


def _configure(more: str = _ON) -> None:
    Path("gateway.yaml").write_text(f"identity: sqlite:///./identity.db\n{more}\n")


@pytest.fixture
def store(run: Run) -> None:
    """Alice with a token, a group, and a gateway that uses assigned rules."""
    _configure()
    run("users", "create", "alice")
    run("groups", "create", "research")
    run("tokens", "create", "--user", "alice", "--name", "ci")


@pytest.mark.usefixtures("store")
def test_limits(run: Run) -> None:
    """Limits are set by names, listed, and removed one by one or all of an owner."""
    said = run("limits", "set", "-u", "alice", "--requests-per-minute", "60").stdout
    assert said == "User alice: requests_per_minute is now 60.\n"
    run("limits", "set", "-u", "alice", "--tokens-per-minute", "5000", "--concurrent-requests", "2")
    run("limits", "set", "-u", "alice", "-t", "ci", "--requests-per-minute", "6")
    run("limits", "set", "-g", "research", "--requests-per-minute", "600")
    listed = json.loads(run("limits", "list", "-o", "json").stdout)
    assert [(one["owner"], one["kind"], one["value"]) for one in listed] == [
        ("group", "requests_per_minute", 600),
        ("token", "requests_per_minute", 6),
        ("user", "concurrent_requests", 2),
        ("user", "requests_per_minute", 60),
        ("user", "tokens_per_minute", 5000),
    ]
    run("limits", "remove", "-u", "alice", "--limit", "tokens_per_minute")
    said = run("limits", "rm", "-u", "alice").stdout
    assert said.count("is removed") == 2
    run("limits", "rm", "-u", "alice", fails=StoreError)
    run("limits", "set", "-u", "alice", fails=SystemExit)
    run("limits", "set", "-u", "alice", "--requests-per-minute", "0", fails=SystemExit)
    run("limits", "set", "--requests-per-minute", "5", fails=SystemExit)


@pytest.mark.usefixtures("store")
def test_models(run: Run) -> None:
    """An allow or deny list replaces the previous one, is listed, and can be removed."""
    run("models", "allow", "claude-*", "-g", "research")
    said = run("models", "allow", "claude-haiku-*", "gpt-*", "-g", "research").stdout
    assert said == "Group research: allow_models is now claude-haiku-*, gpt-*.\n"
    run("models", "deny", "*opus*", "-u", "alice")
    rows = [line.split() for line in run("models", "list").stdout.splitlines()[1:]]
    assert [row[:3] for row in rows] == [
        ["group", "research", "allow_models"],
        ["user", "alice", "deny_models"],
    ]
    run("models", "remove", "-g", "research")
    run("models", "remove", "-g", "research", fails=StoreError)
    run("models", "deny", "a b", "-u", "alice", fails=SystemExit)


@pytest.mark.usefixtures("store")
def test_a_gateway_that_would_not_hold_them(run: Run) -> None:
    """Without the setting, setting a rule is an error that names it."""
    _configure("models: {rules: [{deny: ['*opus*']}]}")
    run("limits", "set", "-u", "alice", "--requests-per-minute", "6", fails=ConfigError)
    run("models", "deny", "m", "-u", "alice", fails=ConfigError)
