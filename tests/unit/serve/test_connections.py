"""authz.serve.connections; tests/e2e/test_connections.py counts at a real server."""

from typing import Any

import pytest

from authz.config.settings import Config
from authz.serve.connections import connections

_WITH_KEYS = {
    "name": "anthropic",
    "type": "anthropic",
    "base_url": "https://api.anthropic.com/",
    "keys": [{"env": "FIRST"}, {"env": "SECOND"}],
}
_HERE, _THERE = "postgresql://db/authz", "postgresql://other/usage"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {_HERE: 5}),
        ({"usage": {"enabled": False}}, {_HERE: 3}),
        ({"usage": {"database": _THERE}}, {_HERE: 3, _THERE: 2}),
        ({"usage": {"database": "sqlite:///./usage.db"}}, {_HERE: 3}),
        ({"limits": {"shared": {}}}, {_HERE: 7}),
        ({"limits": {"shared": {"store": "valkey://v:6379/0"}}}, {_HERE: 6}),
        ({"models": {"assigned": True}}, {_HERE: 6}),
        ({"budgets": {}}, {_HERE: 6}),
        ({"export": {"otlp": "http://collector:4317"}}, {_HERE: 6}),
        ({"export": {"otlp": "http://collector:4317", "audit": False}}, {_HERE: 5}),
        ({"providers": [_WITH_KEYS]}, {_HERE: 6}),
        ({"identity": "sqlite:///./identity.db"}, {}),
        ({"identity": "https://coder.example.com", "usage": {"database": _THERE}}, {_THERE: 2}),
    ],
)
def test_each_part_has_its_own(settings: dict[str, Any], expected: dict[str, int]) -> None:
    """Only the parts that a configuration switches on count, in the database that they use."""
    config = Config.model_validate({"identity": f"{_HERE}?user=gateway", **settings})
    assert connections(config) == expected
