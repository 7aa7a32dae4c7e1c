"""Opens what the ``identity`` URL names."""

from collections.abc import Callable
from pathlib import Path

from authz.core.identity import IdentitySource
from authz.database.interface import Database
from authz.database.sqlite import SQLiteDatabase
from authz.database.sqlite_file import make
from authz.database.url import CoderURL, IdentityURL, PostgresURL, SQLiteURL, parse_identity_url
from authz.errors import ConfigError
from authz.identity.schema import IDENTITY
from authz.identity.sqlite_source import SQLiteSource
from authz.identity.store import Store


async def open_source(
    url: str, *, ca_file: Path | None = None, on_batch: Callable[[int], None] | None = None
) -> IdentitySource:
    """Return the source that a request's token is looked up in.

    It need not answer yet: ``check_ready`` says whether it does. Open it in the process that
    uses it, after a fork.

    Args:
        url: the configuration's ``identity``.
        ca_file: the configuration's ``identity_ca_file``.
        on_batch: called with how many tokens are looked up together, where several are.

    Raises:
        ConfigError: the URL is malformed, its scheme is not supported, or ``ca_file`` can't be
            used.
    """
    parsed = _parsed(url)
    match parsed:
        # Imported here, because aiohttp and asyncpg take a fifth and a tenth of a second and most
        # commands need neither.
        case CoderURL():
            from authz.identity.coder_source import CoderSource

            return CoderSource(parsed.base, ca_file=ca_file)
        case PostgresURL():
            from authz.identity.postgres_source import PostgresSource

            return PostgresSource(parsed, on_batch)
        case SQLiteURL():
            return SQLiteSource(parsed.path)


def coder_base(url: str) -> str | None:
    """Return the base URL of the Coder deployment that an ``identity`` URL names, or None.

    A PostgreSQL URL may name Coder's own database: that shows when its store is opened.
    """
    parsed = _parsed(url)
    return parsed.base if isinstance(parsed, CoderURL) else None


async def open_store(url: str, *, create: bool) -> Store:
    """Return the store of users and tokens.

    Args:
        url: the configuration's ``identity``.
        create: make it if it is not there. In PostgreSQL only ``make_store`` does, because there
            it takes a right that whoever manages tokens need not have.

    Raises:
        ConfigError: the URL is malformed, or names no store of ours.
        ManagedByCoder: it is Coder's own database.
        StoreError: it is not there and ``create`` is false, or it can't be made or used.
    """
    parsed = _store_url(url)
    if create and isinstance(parsed, SQLiteURL):
        make(parsed.path, IDENTITY)
    return Store(await open_database(url))


async def open_database(url: str) -> Database:
    """Return a database that has our own tables.

    Args:
        url: as the configuration's ``identity``.

    Raises:
        ConfigError: the URL is malformed, or names no database of ours.
        StoreError: it is not there, or can't be used.
    """
    parsed = _store_url(url)
    if isinstance(parsed, SQLiteURL):
        file = SQLiteDatabase(parsed.path, IDENTITY)
        try:
            await file.check()
        except BaseException:
            await file.close()
            raise
        return file
    from authz.database.postgres import PostgresDatabase
    from authz.identity.postgres_tables import check_tables

    database = PostgresDatabase(parsed)
    try:
        await check_tables(database)
    except BaseException:
        await database.close()
        raise
    return database


async def make_store(url: str) -> tuple[str, bool]:
    """Make the store's tables unless they are there.

    Args:
        url: the configuration's ``identity``.

    Returns:
        Where they are, for a person, and whether they were made now.

    Raises:
        ConfigError: as ``open_store``.
        StoreError: they can't be made there, or the database is not ours.
    """
    parsed = _store_url(url)
    if isinstance(parsed, SQLiteURL):
        made = not parsed.path.exists()
        make(parsed.path, IDENTITY)
        await (await open_store(url, create=False)).close()
        return str(parsed.path), made
    from authz.database.postgres import PostgresDatabase
    from authz.identity.postgres_tables import create_tables

    database = PostgresDatabase(parsed)
    try:
        return parsed.display, await create_tables(database)
    finally:
        await database.close()


def _store_url(text: str) -> SQLiteURL | PostgresURL:
    url = _parsed(text)
    if isinstance(url, CoderURL):
        raise ConfigError(["identity: tokens are managed by Coder: coder tokens create"])
    return url


def _parsed(text: str) -> IdentityURL:
    try:
        return parse_identity_url(text)
    except ValueError as error:
        raise ConfigError([f"identity: {error}"]) from None
