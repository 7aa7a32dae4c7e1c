"""authz.config.timeouts and authz.config.outliers."""

from typing import Any

import pytest

from authz.config.outliers import OutlierDetection
from authz.config.rules import broken_rules
from authz.config.settings import Config
from authz.config.validation import validated


def _config(envoy: dict[str, Any] | None = None, **timeouts: Any) -> Config:
    provider = {"name": "mine", "type": "anthropic", "base_url": "https://api.example.com"}
    return Config.model_validate({"providers": [{**provider, **timeouts}], "envoy": envoy or {}})


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"idle_timeout": "16m"},
            "idle_timeout: must be at most envoy.stream_idle_timeout (900 s)",
        ),
        (
            {"first_byte_timeout": 901},
            "first_byte_timeout: must be at most envoy.stream_idle_timeout (900 s)",
        ),
        (
            {"first_byte_timeout": "2m", "idle_timeout": "1m"},
            "first_byte_timeout: must be at most idle_timeout (60 s)",
        ),
        (
            {"envoy": {"stream_idle_timeout": 30}, "idle_timeout": 31},
            "idle_timeout: must be at most envoy.stream_idle_timeout (30 s)",
        ),
    ],
)
def test_time_outs_that_never_end(values: dict[str, Any], problem: str) -> None:
    """A time-out is refused if a shorter one always ends the request first."""
    (found,) = broken_rules(_config(**values))
    assert found.startswith(f"providers[0].{problem}")
    assert ": raise " in found


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"first_byte_timeout": 900, "idle_timeout": "15m"},
        {"first_byte_timeout": 1},
        {"envoy": {"stream_idle_timeout": "1h"}, "first_byte_timeout": "1h"},
    ],
)
def test_time_outs_that_work(values: dict[str, Any]) -> None:
    """Time-outs up to the enclosing ones are accepted."""
    assert list(broken_rules(_config(**values))) == []


def test_time_outs_of_a_partial_configuration() -> None:
    """A time-out that is invalid itself gives only its own message."""
    provider = {"name": "mine", "type": "anthropic", "base_url": "https://api.example.com"}
    values = {"providers": [{**provider, "first_byte_timeout": 0, "idle_timeout": "long"}]}
    config, problems = validated(values)
    assert {location[-1] for location, _ in problems} == {"first_byte_timeout", "idle_timeout"}
    assert list(broken_rules(config)) == []


def test_when_to_come_back() -> None:
    """A client waits for both times, since Envoy ends an ejection at its next interval."""
    settings = OutlierDetection(interval=5, ejection_time=60)
    assert settings.retry_after == 65
    assert OutlierDetection().retry_after == 30
