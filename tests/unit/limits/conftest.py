"""Fixtures for every place that counts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import PostgresServer
from tests.support.valkey import ValkeyServer, running_valkey


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A Valkey or Redis server for the session."""
    with running_valkey() as server:
        yield server


@pytest.fixture(scope="session")
def limits_database(postgres: PostgresServer) -> str:
    """The URL of a PostgreSQL database for counts."""
    return postgres.url(postgres.database())


@pytest.fixture(params=["memory", "sqlite", "postgresql", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """The URL of a place that counts; None is the memory."""
    if request.param == "memory":
        return None
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'limits.db'}"
    if request.param == "postgresql":
        return str(request.getfixturevalue("limits_database"))
    return str(request.getfixturevalue("valkey").url)
