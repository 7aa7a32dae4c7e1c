"""The identity source on PostgreSQL: Coder's own database, read only, or authz's."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken
from authz.database.postgres_errors import FAILURES, explain
from authz.database.postgres_pool import Pool
from authz.database.url import PostgresURL
from authz.errors import IdentityUnreachable
from authz.identity.batch import Batcher
from authz.identity.record import SELECT_RECORDS, SELECT_RECORDS_WITH_OWN_KEYS, TokenRecord, check

CONNECTIONS = 2
"""The number of connections and of concurrent look-ups, each for a whole batch."""
ANSWER_SECONDS = 0.7
"""The time limit of a look-up including connecting.

It is less than ``batch.LOOK_UP_SECONDS``, so that the error names the database."""
STATEMENT_SECONDS = 0.5
"""The time after which the server ends a statement, so the error distinguishes slow from hung."""
_SETTINGS = {"plan_cache_mode": "force_generic_plan"}
"""One plan for each connection, because planning each batch takes longer than the look-up."""


class PostgresSource:
    """The identity source of a PostgreSQL database (``authz.identity.IdentitySource``).

    The first call connects. The server may be down at any time.

    Args:
        url: of a database with Coder's tables or authz's. The role needs only ``SELECT`` on the
            columns of ``record.SELECT_RECORDS``.
        on_batch: called with the number of tokens in each look-up.
        own_keys: also read the keys that users have stored, in the same query.
    """

    def __init__(
        self,
        url: PostgresURL,
        on_batch: Callable[[int], None] | None = None,
        *,
        own_keys: bool = False,
    ) -> None:
        self._where = url.display
        self._select = SELECT_RECORDS_WITH_OWN_KEYS if own_keys else SELECT_RECORDS
        self._pool = Pool(
            url, size=CONNECTIONS, statement_seconds=STATEMENT_SECONDS, settings=_SETTINGS
        )
        self._batcher: Batcher[str, TokenRecord] = Batcher(
            self._look_up, concurrency=CONNECTIONS, on_batch=on_batch
        )

    async def verify(self, token: CoderToken) -> Identity | Rejection:
        """Look the token up now; see ``IdentitySource.verify``.

        Raises:
            IdentityUnavailable: the server can't be reached or hangs, or the tables or the right to
                read them are missing.
        """
        record = await self._batcher.get(token.id)
        return check(record, token, datetime.now(UTC))

    async def check_ready(self) -> None:
        """Return when a look-up works; see ``IdentitySource.check_ready``.

        It looks up an id that no token has, in the next batch. It therefore needs the same tables,
        columns and rights, and concurrent calls cost one look-up.
        """
        await self._batcher.get("")

    async def close(self) -> None:
        """End look-ups and connections, without waiting for the server."""
        await self._batcher.close()
        await self._pool.close()

    async def _look_up(self, token_ids: Sequence[str]) -> Mapping[str, TokenRecord]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                rows = await self._pool.fetch(self._select, token_ids)
        except FAILURES as error:
            # Without its cause, whose text may quote the URL.
            raise IdentityUnreachable(explain(error, self._where)) from None
        return {row[0]: TokenRecord(*row) for row in rows}
