"""The costs of recorded requests: those that are missing, and adding them later."""

from dataclasses import dataclass

from authz.database.interface import Database
from authz.printable import printable
from authz.usage.charges import Cost
from authz.usage.rows import tokens_of
from authz.usage.sums import unpriced
from authz.usage.sums_schema import UNPRICED

_PRICED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Unpriced:
    """The requests for a model whose tokens are known, and whose cost is not.

    Attributes:
        last_ms: the time of the last one.
    """

    provider: str
    model: str
    requests: int
    last_ms: int


class StoredCosts:
    """The costs in the rows of recorded requests.

    Args:
        database: has the usage tables.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def missing(self, since_ms: int, user_id: str | None = None) -> list[Unpriced]:
        """Return the models whose requests have no cost, the most requests first.

        Requests from before there were prices have none either.
        """
        rows = await unpriced(self._database, since_ms, user_id)
        return [
            Unpriced(
                printable(row["provider"]),
                printable(row["model"]),
                int(row["requests"]),
                int(row["last_ms"]),
            )
            for row in rows
        ]

    async def add(self, since_ms: int, cost: Cost) -> int:
        """Compute the cost of the requests that have none, and return how many got one.

        Args:
            since_ms: Unix time in milliseconds; earlier requests stay as they are.
            cost: the prices.
        """
        changed, after = 0, (since_ms, "")
        while True:
            rows = await self._database.fetch(
                "SELECT id, time_ms, provider, model, input_tokens, cached_tokens,"  # noqa: S608
                " cache_write_tokens, output_tokens, reasoning_tokens FROM usage_entries r"
                f" WHERE (time_ms, id) > ($1, $2) AND {UNPRICED}"
                " AND provider IS NOT NULL AND model IS NOT NULL"
                f" ORDER BY time_ms, id LIMIT {_PRICED_AT_ONCE:d}",
                *after,
            )
            if not rows:
                return changed
            async with self._database.transaction() as transaction:
                for row in rows:
                    amount = cost(row["provider"], row["model"], tokens_of(row), row["time_ms"])
                    if amount is not None:
                        changed += await transaction.execute(
                            "UPDATE usage_entries SET cost = $2 WHERE id = $1 AND time_ms = $3"
                            " AND cost IS NULL",
                            *(row["id"], amount, row["time_ms"]),
                        )
            if len(rows) < _PRICED_AT_ONCE:
                return changed
            after = (int(rows[-1]["time_ms"]), rows[-1]["id"])
