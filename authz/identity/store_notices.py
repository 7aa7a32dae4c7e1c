"""The notices that a webhook gets, in the store: each one is sent once, whichever replica does it.

A notice has an id of its own that says what it is about, so two replicas that make the same one
make one. A replica claims a notice for ``LEASE`` before it sends it, and stores the result.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from authz.database.interface import Queries
from authz.identity.accounts import rfc3339
from authz.identity.store_base import StoreBase

LEASE = timedelta(minutes=5)
"""The time for which a claimed notice belongs to one replica. Later another replica may send it."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice.

    Attributes:
        id: says what the notice is about, so that it exists once.
        kind: the kind for the receiver, such as ``token.ends_soon``.
        data: the content, as JSON values; no secrets.
        subject: the id of the object that it is about.
        keep_until: the time from which the same notice is not made again anyway.
    """

    id: str
    kind: str
    data: Mapping[str, Any]
    subject: str
    keep_until: datetime

    def body(self, now: datetime) -> str:
        """Return the JSON text for the receiver."""
        return json.dumps({"type": self.kind, "timestamp": rfc3339(now), "data": dict(self.data)})


@dataclass(frozen=True, slots=True)
class ClaimedNotice:
    """A notice to send now.

    Attributes:
        kind: as in ``Notice``.
        body: JSON text.
        attempt: the number of this attempt, from 1 on.
    """

    id: str
    kind: str
    body: str
    attempt: int


async def insert_notices(
    transaction: Queries, notices: Collection[Notice], now: datetime
) -> list[Notice]:
    """Store the notices that do not exist yet, and return these."""
    added = []
    for notice in notices:
        if await transaction.execute(
            "INSERT INTO notices (id, kind, subject, body, next_at, created_at, keep_until)"
            " VALUES ($1, $2, $3, $4, $5, $5, $6) ON CONFLICT DO NOTHING",
            notice.id,
            notice.kind,
            notice.subject,
            notice.body(now),
            now,
            notice.keep_until,
        ):
            added.append(notice)
    return added


class NoticeStore(StoreBase):
    """The part of the store for notices."""

    async def add_notices(self, notices: Collection[Notice], now: datetime) -> list[Notice]:
        """Store the notices that do not exist yet, and return these."""
        async with self._database.transaction() as transaction:
            return await insert_notices(transaction, notices, now)

    async def add_unless_recent(self, notice: Notice, since: datetime, now: datetime) -> bool:
        """Store a notice unless there is one of its kind and subject, and return whether it is new.

        Args:
            notice: the notice.
            since: older ones do not count.
            now: the time.
        """
        async with self._database.transaction() as transaction:
            if await transaction.fetch(
                "SELECT 1 FROM notices WHERE kind = $1 AND subject = $2 AND created_at > $3",
                notice.kind,
                notice.subject,
                since,
            ):
                return False
            return bool(await insert_notices(transaction, [notice], now))

    async def claim_notices(
        self, now: datetime, limit: int, kinds: Collection[str]
    ) -> list[ClaimedNotice]:
        """Return notices to send now, which no other replica gets before ``LEASE`` is over.

        Args:
            now: the time.
            limit: the maximum number of notices.
            kinds: of the notices, since each receiver gets its own.
        """
        places = ", ".join(f"${place}" for place in range(2, 2 + len(kinds)))
        due = (
            "SELECT id, kind, body, attempts FROM notices"  # noqa: S608 - placeholders
            f" WHERE done_at IS NULL AND next_at <= $1 AND kind IN ({places})"
        )
        # Mostly there is none, and then no other writer has to wait.
        if not await self._database.fetch(f"{due} LIMIT 1", now, *kinds):
            return []
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(
                f"{due} ORDER BY next_at, id LIMIT {limit:d}", now, *kinds
            )
            for row in rows:
                await transaction.execute(
                    "UPDATE notices SET attempts = attempts + 1, next_at = $1 WHERE id = $2",
                    now + LEASE,
                    row["id"],
                )
        return [
            ClaimedNotice(row["id"], row["kind"], row["body"], row["attempts"] + 1) for row in rows
        ]

    async def finish_notice(self, notice: ClaimedNotice, now: datetime) -> None:
        """Note that a claimed notice is not sent again."""
        await self._database.execute(
            "UPDATE notices SET done_at = $1 WHERE id = $2 AND attempts = $3",
            now,
            notice.id,
            notice.attempt,
        )

    async def postpone_notice(self, notice: ClaimedNotice, until: datetime) -> None:
        """Note that a claimed notice is sent again later.

        Nothing changes if the lease was over and another replica has claimed it.
        """
        await self._database.execute(
            "UPDATE notices SET next_at = $1 WHERE id = $2 AND attempts = $3",
            until,
            notice.id,
            notice.attempt,
        )

    async def forget_notices(self, now: datetime) -> None:
        """Delete the notices that would not be made again."""
        await self._database.execute("DELETE FROM notices WHERE keep_until < $1", now)
