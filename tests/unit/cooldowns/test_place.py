"""authz.cooldowns.place."""

from typing import Any

import pytest

from authz.config.settings import Config
from authz.cooldowns.place import shared_database

PG, OTHER = "postgresql://db.test/authz", "postgresql://other.test/usage"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"identity": PG}, PG),
        ({"identity": PG, "usage": {"database": OTHER}}, PG),
        ({"identity": "https://coder.test"}, None),
        ({"identity": "https://coder.test", "usage": {"database": OTHER}}, OTHER),
        ({"identity": "https://coder.test", "usage": {"enabled": False, "database": OTHER}}, None),
        ({"limits": {"shared": {"store": OTHER}}}, OTHER),
        ({"limits": {"shared": {"store": "valkey://v.test"}}}, None),
        ({"identity": PG, "limits": {"shared": {"store": "valkey://v.test"}}}, PG),
    ],
)
def test_the_first_postgresql_of_the_configuration(
    settings: dict[str, Any], expected: str | None
) -> None:
    """Identity, usage or shared limits: one of them is shared by all replicas."""
    found = shared_database(Config.model_validate(settings))
    assert (None if found is None else found.dsn.reveal()) == expected
