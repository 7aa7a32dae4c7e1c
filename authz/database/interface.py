"""The interface of a database, which SQLite and PostgreSQL implement.

SQL is written with ``$1`` placeholders. Arguments and results are Python values: a time is an aware
UTC ``datetime``, a truth value a ``bool``, a list a ``list``, a user's id a ``str``. An
implementation converts them to the types of its database.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, Protocol, TypeVar

_T = TypeVar("_T")


class Dialect(StrEnum):
    """The SQL that a database understands."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class Row(Protocol):
    """A row; columns are found by name or position."""

    def __getitem__(self, key: str | int, /) -> Any:
        """Return one value."""
        ...


class Conflict(Exception):  # noqa: N818 - the caller turns it into advice for a person
    """A row with the same unique value exists. The store handles this error itself."""


class Queries(Protocol):
    """Runs statements: in a transaction each (``Database``) or together (``Transaction``).

    Attributes:
        dialect: the SQL that the database understands.

    Raises:
        Conflict: a unique value exists already.
        StoreError: the database refuses the statement for another reason; one line.
    """

    dialect: Dialect

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """Run a query and return all its rows."""
        ...

    async def execute(self, sql: str, *args: object) -> int:
        """Run a statement and return the number of rows that it changed."""
        ...


class Transaction(Queries, Protocol):
    """Statements that take effect together."""

    async def insert(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Sequence[str | int | None]]
    ) -> int:
        """Insert the rows that do not exist yet, and return their number.

        Args:
            table: the name of the table.
            columns: names in the order of the rows' values, with PostgreSQL's types.
            rows: values in the form in which they are stored; rows must be distinct.
        """
        ...


class Database(Queries, Protocol):
    """A database that several tasks may use at once.

    Attributes:
        where: names the database in error texts, without a password.
    """

    where: str

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction, committed at the end of the block, rolled back by an exception."""
        ...

    async def transact(self, work: "Callable[[Transaction], Coroutine[Any, Any, _T]]") -> _T:
        """Run a transaction as a whole, and return the result of its work.

        SQLite runs it in a single step of its thread, which is much cheaper than a step for each
        statement.

        Args:
            work: waits for nothing but its statements.
        """
        ...

    async def maintain(self, sql: str) -> None:
        """Run a statement without a time limit, which must take no lock that others wait for."""
        ...

    async def close(self) -> None:
        """Close connections and end threads."""
        ...
