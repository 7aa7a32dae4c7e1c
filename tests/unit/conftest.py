"""Stores in a temporary folder and in PostgreSQL, and a stand-in for Coder.

Importing ``authz.envoy`` installs its import hook before a test imports Envoy's typed API.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

import authz.envoy  # noqa: F401
from authz.core.identity import IdentitySource
from authz.database import postgres_pool
from authz.identity import coder_source as coder_module
from authz.identity import postgres_source
from authz.identity.batch import Batcher
from authz.identity.coder_source import CoderSource
from authz.identity.open import make_store, open_source, open_store
from authz.identity.sqlite_source import SQLiteSource
from authz.identity.store import Store
from tests.support.coder import Coder
from tests.support.postgres import PostgresServer, running_server
from tests.support.postgres_tables import Tables

_ON_UVLOOP = {f"test_postgres_{part}" for part in ("source", "access", "chaos", "rows")}


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests of the request path on the service's event loop, and others on a command's."""
    if item.path.stem in _ON_UVLOOP:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the store's file, in a folder that does not exist yet."""
    return tmp_path / "state" / "identity.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    opened = await open_store(f"sqlite:///{path}", create=True)
    yield opened
    await opened.close()


@pytest.fixture
async def source(path: Path) -> AsyncIterator[SQLiteSource]:
    """A source that reads the same file, which may not exist."""
    opened = SQLiteSource(path)
    yield opened
    await opened.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give look-ups a minute, because on a busy machine one may exceed its usual limit."""
    defaults = {**(Batcher.__init__.__kwdefaults__ or {}), "seconds": 60.0}
    monkeypatch.setattr(Batcher.__init__, "__kwdefaults__", defaults)
    monkeypatch.setattr(coder_module, "CALL_SECONDS", 59.0)
    monkeypatch.setattr(postgres_source, "ANSWER_SECONDS", 59.0)
    monkeypatch.setattr(postgres_source, "STATEMENT_SECONDS", 58.0)
    monkeypatch.setattr(postgres_pool, "CONNECT_SECONDS", 58.0)
    for limit in ("ANSWER_SECONDS", "CONNECT_SECONDS"):
        monkeypatch.setattr(f"authz.limits.valkey_store.{limit}", 59.0)


@pytest.fixture(scope="session")
def coder_server() -> Iterator[Coder]:
    """A server that speaks as Coder does, one for the session."""
    with Coder().running() as running:
        yield running


@pytest.fixture
def coder(coder_server: Coder) -> Iterator[Coder]:
    """The server, with nothing in it but alice."""
    coder_server.clear()
    coder_server.state.create_user("alice")
    yield coder_server
    coder_server.clear()


@pytest.fixture
async def coder_source(coder: Coder) -> AsyncIterator[CoderSource]:
    """The source on that server."""
    opened = CoderSource(coder.url)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole session."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def own_tables(postgres: PostgresServer) -> str:
    """The name of a database with our own, empty tables, to copy."""
    name = postgres.database()
    asyncio.run(make_store(postgres.url(name)))
    return name


@pytest.fixture
def own(postgres: PostgresServer, own_tables: str) -> str:
    """The name of a database with our own tables, which are empty."""
    return postgres.empty_database("own", lambda: postgres.database(own_tables))


@pytest.fixture(params=["newer", "older", "ours"])
def tables(request: pytest.FixtureRequest, postgres: PostgresServer) -> Tables:
    """A database with Coder's tables or ours."""
    if request.param == "ours":
        return Tables(postgres, request.getfixturevalue("own"), ours=True)
    return Tables.of_coder(postgres, request.param)


@pytest.fixture
def newer(postgres: PostgresServer) -> Tables:
    """A database with Coder's tables."""
    return Tables.of_coder(postgres)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, path: Path) -> str:
    """The URL of a store, in each database."""
    if request.param == "sqlite":
        return f"sqlite:///{path}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(request.getfixturevalue("own"))


@pytest.fixture
async def any_store(store_url: str) -> AsyncIterator[Store]:
    """An empty store in each database."""
    opened = await open_store(store_url, create=True)
    yield opened
    await opened.close()


@pytest.fixture
async def any_source(store_url: str) -> AsyncIterator[IdentitySource]:
    """The source on the same tables."""
    opened = await open_source(store_url)
    yield opened
    await opened.close()
