"""The identity tables in PostgreSQL: creating and checking them, and recognizing Coder's."""

from authz.database.interface import Queries
from authz.database.migration import upgrade
from authz.database.postgres import PostgresDatabase
from authz.errors import ManagedByCoder, StoreError
from authz.identity.schema import IDENTITY

_TABLES = """\
SELECT relname::text AS name, relnamespace::bigint AS place FROM pg_catalog.pg_class
WHERE oid IN (to_regclass('users'), to_regclass('api_keys'), to_regclass('authz_schema'))"""
"""Finds the tables that an unqualified name means, with the schema of each."""


async def create_tables(database: PostgresDatabase) -> bool:
    """Create the tables, or bring them up to date; concurrent calls do it once.

    Returns:
        True if anything changed.

    Raises:
        StoreError: the database can't be reached, is Coder's own, another program's or a newer
            version's, or the role may not create tables.
    """
    async with database.transaction() as transaction:
        version = await _version(transaction, database.where)
        return await upgrade(transaction, IDENTITY, version, database.where)


async def check_tables(database: PostgresDatabase) -> None:
    """Return when the database holds the tables that this program knows.

    Raises:
        StoreError: the database can't be reached, or its tables are missing, Coder's, another
            program's, or another version's.
    """
    where = database.where
    version = await _version(database, where)
    if not version:
        raise StoreError(f"{where} has no tables yet: create them with 'authz db init'")
    IDENTITY.check(version, where)
    # The role that serves requests need not have the right to change tables.
    if version < IDENTITY.version:
        raise StoreError(f"{where} has an earlier version's tables: run 'authz db init'")


async def _version(queries: Queries, where: str) -> int:
    """Return the version of the identity tables; 0 when there are none."""
    places = {row["name"]: row["place"] for row in await queries.fetch(_TABLES)}
    if not places:
        return 0
    if "authz_schema" in places and len(places) == 3 and len(set(places.values())) == 1:
        rows = await queries.fetch("SELECT version FROM authz_schema")
        version: int = rows[0]["version"] if rows else 0
        if version > 0:
            return version
        raise StoreError(f"{where} has no version in authz_schema: restore it from a backup")
    if {"users", "api_keys"} <= places.keys() and "authz_schema" not in places:
        raise ManagedByCoder(
            f"{where} is managed by Coder: use 'coder tokens create', or a database of its own"
        )
    raise StoreError(
        f"{where} has tables that are not authz's ({', '.join(sorted(places))}): "
        "use a database of its own"
    )
