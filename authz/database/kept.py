"""Values that are made from rows, and made again only after the rows have changed."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from authz.database.interface import Dialect, Queries

_T = TypeVar("_T")


class Kept(Generic[_T]):
    """Keeps the value that was made from the rows of a query until they change.

    PostgreSQL computes a digest of the rows. Ten thousand rows would otherwise hold up all checks
    of the process for a tenth of a second each time, because asyncio runs one thing at a time.
    SQLite's rows are always read, since a file is for fewer users.

    Args:
        select: the query, without parameters.
        read: runs the query and makes the value.
    """

    def __init__(self, select: str, read: Callable[[Queries], Awaitable[_T]]) -> None:
        self._digest_of = (
            "SELECT encode(sha256(convert_to(coalesce(string_agg(r::text, E'\\n'"  # noqa: S608
            f" ORDER BY r::text COLLATE \"C\"), ''), 'UTF8')), 'hex') AS digest FROM ({select}) r"
        )
        self._read = read
        self._last: tuple[str, _T] | None = None

    async def read(self, queries: Queries) -> _T:
        """Return the value of the rows as they are now. Raises as ``read`` of the class."""
        if queries.dialect is Dialect.SQLITE:
            return await self._read(queries)
        # Before the rows: a change in between has another digest the next time.
        [row] = await queries.fetch(self._digest_of)
        digest: str = row["digest"]
        if self._last is None or self._last[0] != digest:
            self._last = (digest, await self._read(queries))
        return self._last[1]
