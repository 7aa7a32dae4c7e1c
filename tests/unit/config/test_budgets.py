"""authz.config.budgets and authz.config.notices."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from authz.config.loading import load
from authz.config.prices import Prices
from authz.config.settings import Config
from authz.errors import ConfigError

_HOOK: dict[str, Any] = {"url": "https://hooks.example.com/a", "secret": {"env": "HOOK"}}
_CODER = "https://coder.example.com"


def test_the_defaults() -> None:
    """Budgets and prices are off by default; budgets bring the prices of the book with them."""
    assert (Config().budgets, Config().prices, Config().notices) == (None, None, None)
    config = Config.model_validate({"budgets": {}})
    assert config.budgets is not None
    assert (config.budgets.zone, config.budgets.unavailable) == ("UTC", "refuse")
    assert config.prices == Prices()
    assert Config.model_validate(config.model_dump(mode="json")) == config
    own = {"books": {"anthropic": "none"}}
    assert Config.model_validate({"budgets": {}, "prices": own}).prices != Prices()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"budgets": {"zone": "Mars"}}, "time zone"),
        ({"budgets": {"zone": "../UTC"}}, "time zone"),
        ({"budgets": {"first_cost": 0}}, "greater than 0"),
        ({"budgets": {"reservation_life": "30s"}}, "greater than or equal to 60"),
        ({"budgets": {"unavailable": "allow"}}, "'refuse' or 'pass'"),
        ({"budgets": {}, "identity": _CODER}, "budgets: needs a store"),
        ({"budgets": {}, "usage": {"enabled": False}}, r"budgets: needs usage\.enabled"),
        ({"notices": {"webhook": _HOOK}, "identity": _CODER}, "notices: needs a store"),
        ({"notices": {}}, "Field required"),
    ],
)
def test_what_is_refused(values: dict[str, Any], problem: str) -> None:
    """A setting that can't work is refused at the start."""
    with pytest.raises(ValidationError, match=problem):
        Config.model_validate(values)


def test_external_gateways_have_no_budgets(tmp_path: Path) -> None:
    """Budgets and external gateways exclude each other, as such requests would not be counted."""
    file = tmp_path / "gateway.yaml"
    external = {
        "routes": [{"host": "llm.test", "path": "/anthropic", "provider": "anthropic"}],
        "secret": {"env": "GATEWAYS"},
    }
    file.write_text(yaml.safe_dump({"budgets": {}, "external_gateways": external}))
    with pytest.raises(ConfigError, match="budgets: does not work with external_gateways"):
        load(file, environ={"GATEWAYS": "g" * 40})


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, r"notices\.webhook\.secret: \$HOOK is not set"),
        ({"HOOK": "too-short"}, r"notices\.webhook\.secret: must have at least 24 characters"),
        ({"HOOK": "h" * 24}, r"notices\.webhook\.ca_file: can't read no\.pem"),
    ],
)
def test_a_check_reads_the_secret_and_the_ca(
    tmp_path: Path, environ: dict[str, str], problem: str
) -> None:
    """Every problem names the setting, and none shows the secret."""
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump({"notices": {"webhook": {**_HOOK, "ca_file": "no.pem"}}}))
    with pytest.raises(ConfigError, match=problem) as error:
        load(file, environ=environ)
    assert "too-short" not in str(error.value)
