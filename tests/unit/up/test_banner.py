"""authz.up.banner."""

from pathlib import Path
from typing import Any

import pytest

from authz.config.settings import Config
from authz.up.banner import banner
from authz.up.first_secrets import FirstSecrets
from authz.up.invocation import own_command


def _banner(**values: Any) -> str:
    config = Config.model_validate(values)
    return banner(config, FirstSecrets(), "admin", own_command(None), demo=False)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_without_any_key() -> None:
    """Without a company's key each provider's line names its variable, and no line needs a key."""
    text = _banner()
    assert "  anthropic    no key: set $ANTHROPIC_API_KEY" in text.splitlines()
    assert "  openai       no key: set $OPENAI_API_KEY" in text.splitlines()
    assert text.count(" own key only") == 2
    assert "ANTHROPIC_AUTH_TOKEN" not in text
    titles = [line for line in text.splitlines() if line.startswith(("Claude", "Codex", "curl"))]
    assert titles
    assert all(title.endswith(", with your own key") for title in titles)


def test_with_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider with a key has lines for it, the other one those for own keys."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    lines = _banner().splitlines()
    assert "  openai       central key" in lines
    assert "Codex (openai)" in lines
    assert "Claude Code (anthropic)" not in lines
    assert "Claude Code (anthropic), with your own key" in lines
    assert not any("sk-0123456789" in line for line in lines)


def test_without_key_and_own_keys() -> None:
    """The banner has no lines to paste if no client can work."""
    text = _banner(allow_byok=False)
    assert "no key: set $OPENAI_API_KEY" in text
    assert "no key, and own keys are off (allow_byok)" in text
    assert "Claude Code (" not in text
    assert "curl (" not in text
