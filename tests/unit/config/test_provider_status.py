"""authz.config.provider_status."""

from pathlib import Path
from typing import Any

import pytest

from authz.config.provider_status import has_central, provider_statuses
from authz.config.settings import Config

BASE = {"name": "a", "type": "openai", "base_url": "https://a.example/v1"}


@pytest.mark.parametrize(
    ("values", "text", "central"),
    [
        ({"key": {"env": "SET"}}, "central key", True),
        ({"key": {"env": "UNSET"}}, "no key: set $UNSET", False),
        ({"key": {"env": "EMPTY"}}, "no key: set $EMPTY", False),
        ({"keys": [{"env": "SET"}, {"env": "OTHER"}]}, "2 central keys", True),
        ({"keys": [{"env": "UNSET"}, {"env": "SET"}]}, "central key ($UNSET not set)", True),
        ({"keys": [{"env": "UNSET"}, {"env": "EMPTY"}]}, "no key: set $UNSET or $EMPTY", False),
        ({}, "own key only", False),
        ({"type": "copilot"}, "own key only", False),
        ({"type": "openai-compat", "key": "none"}, "no key needed", True),
        ({"type": "openai-compat"}, "own key only", False),
        (
            {"type": "bedrock", "base_url": "https://a.example", "aws": {"region": "us-east-1"}},
            "AWS credentials: Envoy signs",
            True,
        ),
    ],
)
def test_status(values: dict[str, Any], text: str, central: bool) -> None:
    """The status of a provider says which credential can be used with it."""
    environ = {"SET": "sk-a", "OTHER": "sk-b", "EMPTY": ""}
    config = Config.model_validate({"providers": [{**BASE, **values}]})
    (status,) = provider_statuses(config, environ)
    assert (status.text, status.central, status.own) == (text, central, True)
    assert has_central(config.providers[0], environ) == central


def test_without_own_keys() -> None:
    """A provider without a central key can't be used if own keys are off."""
    config = Config.model_validate({"allow_byok": False, "providers": [BASE]})
    (status,) = provider_statuses(config, {})
    assert (status.central, status.own) == (False, False)
    assert "own keys are off" in status.text


def test_a_key_in_a_file(tmp_path: Path) -> None:
    """A file counts as long as it can be read."""
    file = tmp_path / "key"
    file.write_text("sk-0123456789")
    config = Config.model_validate({"providers": [{**BASE, "key": {"file": str(file)}}]})
    assert has_central(config.providers[0], {})
    file.unlink()
    assert not has_central(config.providers[0], {})
