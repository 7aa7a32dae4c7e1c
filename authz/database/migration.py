"""Versions of tables, and the steps that lead from one version to the next.

The identity tables and the usage tables each have a ``Schema``. Both databases apply it the same
way: read the version, run the statements of the missing steps, and store the new version, all in
one transaction. The transaction takes the database's write lock first, so that two processes that
start at once run each step once.

To change tables, append a step to the ``steps`` of their schema. Never change a released step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from authz.database.interface import Dialect, Queries
from authz.errors import StoreError

Statements = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The tables that serve one purpose, in every version that this program knows.

    Attributes:
        name: the purpose, for error texts, such as ``usage``.
        steps: for each version, the statements that create its tables from those of the
            version before it. The first step creates the tables in an empty database.
        store_version: returns the statements that store a version in the database.
    """

    name: str
    steps: Mapping[int, Mapping[Dialect, Statements]]
    store_version: Callable[[Dialect, int], Statements]

    @property
    def version(self) -> int:
        """The version that this program reads and writes."""
        return max(self.steps)

    def check(self, version: int, where: str) -> None:
        """Raise an error for a version that this program can neither use nor bring up to date.

        Args:
            version: of the tables; 0 when there are no tables.
            where: the database, for the error text.

        Raises:
            StoreError: the version is newer, or older than the first one.
        """
        if version > self.version:
            raise StoreError(
                f"{where} was made by a newer authz ({self.name} tables of version {version}, "
                f"this one knows {self.version}): upgrade authz"
            )
        if 0 < version < min(self.steps):
            raise StoreError(
                f"{where} has {self.name} tables of version {version}, which no released authz "
                "made: create a new database"
            )

    def statements(self, dialect: Dialect, version: int, where: str) -> list[str]:
        """Return the statements that bring tables up to date, for one transaction.

        Args:
            dialect: of the database.
            version: of the tables; 0 when there are no tables.
            where: the database, for the error text.

        Returns:
            The statements of the missing steps, then those that store the version. The list is
            empty when the tables are up to date.

        Raises:
            StoreError: as in ``check``.
        """
        self.check(version, where)
        if version == self.version:
            return []
        missing = sorted(number for number in self.steps if number > version)
        made = [text for number in missing for text in self.steps[number][dialect]]
        return [*made, *self.store_version(dialect, self.version)]


async def upgrade(transaction: Queries, schema: Schema, version: int, where: str) -> bool:
    """Create the tables, or bring them up to date.

    Args:
        transaction: holds the database's write lock. The version was read in it.
        schema: of the tables.
        version: of the tables; 0 when there are no tables.
        where: the database, for the error text.

    Returns:
        True if anything changed.

    Raises:
        StoreError: the tables are newer, or the role may not create tables.
    """
    statements = schema.statements(transaction.dialect, version, where)
    for statement in statements:
        await transaction.execute(statement)
    return bool(statements)
