"""authz.config.tokens and authz.config.webhook."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from authz.config.loading import load
from authz.config.settings import Config
from authz.errors import ConfigError

_HOOK: dict[str, Any] = {"url": "https://hooks.example.com/a", "secret": {"env": "HOOK"}}


def _tokens(**hook: object) -> dict[str, Any]:
    return {"tokens": {"notices": {"webhook": {**_HOOK, **hook}}}}


def test_the_defaults() -> None:
    """A user may have 1000 tokens, there are no notices, and with a webhook there are two."""
    assert (Config().tokens.max_per_user, Config().tokens.notices) == (1000, None)
    notices = Config.model_validate(_tokens()).tokens.notices
    assert notices is not None
    assert notices.before == (7 * 86_400, 86_400)


def test_what_is_written_is_read_again() -> None:
    """Settings survive writing and reading, so the children of `authz up` get the same ones."""
    config = Config.model_validate(_tokens(url="http://127.0.0.1:9000/hook"))
    assert Config.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"tokens": {"max_per_user": 0}}, "greater than or equal to 1"),
        ({"tokens": {"max_per_user": "9"}}, "valid integer"),
        ({"tokens": {"notices": {}}}, "Field required"),
        ({"tokens": {"notices": {"webhook": _HOOK, "before": []}}}, "at least 1 item"),
        ({"tokens": {"notices": {"webhook": _HOOK, "before": ["1d", "24h"]}}}, "the same"),
        ({"tokens": {"notices": {"webhook": _HOOK, "before": ["30m"]}}}, "equal to 3600"),
        ({"tokens": {"notices": {"webhook": _HOOK, "before": ["soon"]}}}, "must be"),
        (_tokens(url="http://hooks.example.com/a"), "must begin with https://"),
        (_tokens(url="http://127.0.0.1:1/a", ca_file="ca.pem"), "ca_file: needs url"),
        (_tokens(secret={"exec": ["pass", "hook"]}), "secret: must be {env: NAME}"),
        (_tokens() | {"identity": "https://coder.example.com"}, "tokens: needs a store"),
        (
            {"tokens": {"max_per_user": 9}, "identity": "https://coder.example.com"},
            "tokens: needs a store",
        ),
    ],
)
def test_what_is_refused(values: dict[str, Any], problem: str) -> None:
    """A setting that can't work is refused at the start."""
    with pytest.raises(ValidationError, match=problem):
        Config.model_validate(values)


@pytest.mark.parametrize(
    ("environ", "hook", "problem"),
    [
        ({}, {}, r"secret: \$HOOK is not set"),
        ({"HOOK": "too-short"}, {}, "secret: must have at least 24 characters"),
        ({}, {"secret": {"file": "no.secret"}}, r"secret\.file: no\.secret: No such file"),
        ({"HOOK": "h" * 24}, {"ca_file": "no.pem"}, r"webhook\.ca_file: can't read no\.pem"),
        ({}, {"secret": {"env": "not a name"}, "url": 1}, "secret"),
    ],
)
def test_a_check_reads_the_secret_and_the_ca(
    tmp_path: Path, environ: dict[str, str], hook: dict[str, object], problem: str
) -> None:
    """Every problem names the setting, and none shows the secret."""
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(_tokens(**hook)))
    with pytest.raises(ConfigError, match=problem) as error:
        load(file, environ=environ)
    assert "too-short" not in str(error.value)
