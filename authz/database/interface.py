"""What the store needs of a database, so that SQLite and PostgreSQL are one file each.

SQL is written with ``$1`` placeholders. Going in and coming out, a time is an aware UTC
``datetime``, a truth value a ``bool``, a list a ``list``, a user's id a ``str``; an implementation
turns them into what its database stores.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, Protocol


class Dialect(StrEnum):
    """The SQL that a database understands."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class Row(Protocol):
    """A row, by column name or position."""

    def __getitem__(self, key: str | int, /) -> Any:
        """Return one value."""
        ...


class Conflict(Exception):  # noqa: N818 - the caller turns it into advice for a person
    """A row with the same unique value exists. Never leaves the store."""


class Queries(Protocol):
    """Where statements run: the database itself, each its own transaction, or one transaction.

    Raises:
        Conflict: a unique value is taken.
        StoreError: anything else that the database refuses, in one line.
    """

    dialect: Dialect

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """Run a query and return all its rows."""
        ...

    async def execute(self, sql: str, *args: object) -> int:
        """Run a statement and return how many rows it changed."""
        ...


class Transaction(Queries, Protocol):
    """Statements that take effect together."""

    async def insert(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Sequence[str | int | None]]
    ) -> int:
        """Insert many rows but those that are there, and return how many were not.

        Args:
            table: its name.
            columns: names in the order of the rows' values, with PostgreSQL's types.
            rows: values as they are stored; no two rows the same.
        """
        ...


class Database(Queries, Protocol):
    """A database that several tasks may use at once.

    Attributes:
        where: names the database in error texts, without a password.
    """

    where: str

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction: committed at the end of the block, rolled back by an exception."""
        ...

    async def close(self) -> None:
        """Give back connections and threads."""
        ...
