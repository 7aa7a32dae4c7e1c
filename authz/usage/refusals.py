"""Recorded requests that the gateway refused."""

from dataclasses import dataclass

from authz.database.interface import Queries
from authz.printable import printable


@dataclass(frozen=True, slots=True)
class Refusals:
    """The refused requests with the same reason.

    Attributes:
        reason: as in the log; empty where Envoy refused without authz.
        users: the number of their users, as far as these are known.
        last_ms: the begin of the last one, in milliseconds of Unix time.
    """

    reason: str
    requests: int
    users: int
    last_ms: int


async def refusals_since(queries: Queries, since_ms: int) -> list[Refusals]:
    """Return the refused requests since a time by reason, the most frequent first.

    Raises:
        StoreError: the database can't be read.
    """
    rows = await queries.fetch(
        "SELECT coalesce(reason, '') AS reason, count(*) AS requests,"
        " count(DISTINCT user_id) AS users, max(time_ms) AS last FROM usage_entries"
        " WHERE time_ms >= $1 AND usage = 'refused' GROUP BY 1 ORDER BY 2 DESC, 1",
        since_ms,
    )
    return [
        Refusals(
            printable(row["reason"]), int(row["requests"]), int(row["users"]), int(row["last"])
        )
        for row in rows
    ]
