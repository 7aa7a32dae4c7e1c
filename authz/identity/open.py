"""Opening of the source, store or database that an ``identity`` URL names."""

from collections.abc import Callable
from pathlib import Path

from authz.core.identity import IdentitySource
from authz.core.tokens import MAX_PER_USER
from authz.database.interface import Database
from authz.database.sqlite import SQLiteDatabase
from authz.database.sqlite_file import make
from authz.database.url import CoderURL, IdentityURL, PostgresURL, SQLiteURL, parse_identity_url
from authz.errors import ConfigError
from authz.identity.schema import IDENTITY
from authz.identity.sqlite_source import SQLiteSource
from authz.identity.store import Store


async def open_source(
    url: str,
    *,
    ca_file: Path | None = None,
    on_batch: Callable[[int], None] | None = None,
    own_keys: bool = False,
) -> IdentitySource:
    """Return the source in which tokens of requests are looked up.

    The source may not answer yet; see ``check_ready``. Open it in the process that uses it, after a
    fork.

    Args:
        url: the configuration's ``identity``.
        ca_file: the configuration's ``identity_ca_file``.
        on_batch: called with the number of tokens in each look-up, if the source batches them.
        own_keys: also read the keys that users have stored.

    Raises:
        ConfigError: the URL is malformed, its scheme is not supported, or ``ca_file`` can't be
            used.
    """
    parsed = _parsed(url)
    match parsed:
        # Imported here, because aiohttp takes a fifth and asyncpg a tenth of a second to import,
        # and most commands need neither.
        case CoderURL():
            from authz.identity.coder_source import CoderSource

            return CoderSource(parsed.base, ca_file=ca_file)
        case PostgresURL():
            from authz.identity.postgres_source import PostgresSource

            return PostgresSource(parsed, on_batch, own_keys=own_keys)
        case SQLiteURL():
            return SQLiteSource(parsed.path, own_keys=own_keys)


def coder_base(url: str) -> str | None:
    """Return the base URL of the Coder deployment that an ``identity`` URL names, or None.

    A PostgreSQL URL may name Coder's own database, which only opening the store shows.
    """
    parsed = _parsed(url)
    return parsed.base if isinstance(parsed, CoderURL) else None


async def open_store(url: str, *, create: bool, max_tokens: int = MAX_PER_USER) -> Store:
    """Return the store of users and tokens.

    Args:
        url: the configuration's ``identity``.
        create: create a SQLite file that does not exist. In PostgreSQL only ``make_store`` creates
            tables, because that needs rights that the role of the service need not have.
        max_tokens: the number of tokens that a user may have.

    Raises:
        ConfigError: the URL is malformed, or names Coder's API.
        ManagedByCoder: the URL names Coder's own database.
        StoreError: the store does not exist and ``create`` is false, or can't be created or used.
    """
    parsed = _store_url(url)
    if create and isinstance(parsed, SQLiteURL):
        make(parsed.path, IDENTITY)
    return Store(await open_database(url), max_tokens=max_tokens)


async def open_database(url: str, *, lock: int | None = None) -> Database:
    """Return a database that has the identity tables.

    Args:
        url: in the format of the configuration's ``identity``.
        lock: the advisory lock of its transactions in PostgreSQL, for tables that no other part
            writes. None means that of the identity tables.

    Raises:
        ConfigError: the URL is malformed, or names Coder's API.
        StoreError: the database does not exist, has other tables, or can't be used.
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
    from authz.database.postgres import WRITERS, PostgresDatabase
    from authz.identity.postgres_tables import check_tables

    database = PostgresDatabase(parsed, lock=WRITERS if lock is None else lock)
    try:
        await check_tables(database)
    except BaseException:
        await database.close()
        raise
    return database


async def make_store(url: str) -> tuple[str, bool]:
    """Create the identity tables, or bring them up to date.

    Args:
        url: the configuration's ``identity``.

    Returns:
        The name of the database for a person, and True if tables were created or changed.

    Raises:
        ConfigError: as for ``open_store``.
        StoreError: the tables can't be created, or the database has other tables.
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
        raise ConfigError(["identity: Coder manages the tokens: use 'coder tokens create'"])
    return url


def _parsed(text: str) -> IdentityURL:
    try:
        return parse_identity_url(text)
    except ValueError as error:
        raise ConfigError([f"identity: {error}"]) from None
