"""authz.notices: tokens that end soon are noted and delivered once, on both databases."""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz.config.tokens import TokenNotices
from authz.identity.accounts import ApiKey, User
from authz.identity.open import open_store
from authz.identity.store import Store
from authz.identity.store_notices import LEASE, NoticeStore
from authz.identity.store_token_ends import ENDS_SOON, TokenEndStore
from authz.notices.delivery import PAUSES, deliver
from authz.notices.sending import TokenNoticeSender
from authz.notices.token_ends import note_ending_tokens
from authz.notices.webhook import Webhook
from tests.support.postgres import PostgresServer

from .conftest import SECRET, Receiver

DAY = timedelta(days=1)
WEEK = 7 * DAY
BEFORE = (WEEK, DAY)


@dataclass
class Replica:
    """A replica: its store, its webhook, and its clock.

    Attributes:
        now: the time, which the tests set.
    """

    store: Store
    webhook: Webhook
    sender: TokenNoticeSender
    now: datetime

    async def note(self) -> int:
        """Make the notices that are due."""
        ends, notices = self.store.part(TokenEndStore), self.store.part(NoticeStore)
        return await note_ending_tokens(ends, notices, BEFORE, self.now)

    async def deliver(self) -> int:
        """Send the notices that are due."""
        notices = self.store.part(NoticeStore)
        return await deliver(notices, self.webhook, (ENDS_SOON,), lambda: self.now)


async def _open(url: str, receiver: Receiver) -> Replica:
    store = await open_store(url, create=True)
    settings = TokenNotices.model_validate(
        {"webhook": {"url": receiver.url, "secret": {"env": "HOOK"}}}
    )

    async def get() -> Store:
        return store

    sender = TokenNoticeSender(settings, get, {"HOOK": SECRET}, lambda *_: None)
    return Replica(store, sender._webhook, sender, datetime.now(UTC))


@pytest.fixture
async def replicas(store_url: str, receiver: Receiver) -> AsyncIterator[list[Replica]]:
    """Two replicas on one database."""
    both = [await _open(store_url, receiver) for _ in range(2)]
    yield both
    for replica in both:
        await replica.sender.close()
        await replica.store.close()


@pytest.fixture
def replica(replicas: list[Replica]) -> Replica:
    """One of the two replicas."""
    return replicas[0]


async def _token(replica: Replica, lifetime: timedelta = 30 * DAY) -> tuple[User, ApiKey]:
    user = await replica.store.create_user("alice", "alice@example.com")
    text, key = await replica.store.create_token(user, "laptop", lifetime)
    assert text[11:]
    return user, key


async def test_a_token_gets_a_notice_a_week_and_a_day_before_its_end(
    replica: Replica, receiver: Receiver
) -> None:
    """Each notice is sent once, at its time and not before, without the token's text."""
    _, key = await _token(replica)
    tick = timedelta(microseconds=1)
    for moment, made in (
        (key.expires_at - WEEK - tick, 0),
        (key.expires_at - WEEK, 1),
        (key.expires_at - DAY - tick, 0),
        (key.expires_at - DAY, 1),
        (key.expires_at - tick, 0),
        (key.expires_at, 0),
    ):
        replica.now = moment
        assert (await replica.note(), await replica.deliver()) == (made, made), moment
    assert receiver.ids == [f"token-{key.id}-604800", f"token-{key.id}-86400"]
    body = json.loads(receiver.got[0][1])
    assert body["type"] == "token.ends_soon"
    assert body["data"] == {
        "token_id": key.id,
        "token_name": "laptop",
        "username": "alice",
        "email": "alice@example.com",
        "expires_at": key.expires_at.isoformat().replace("+00:00", "Z"),
    }


async def test_after_a_long_pause_only_the_later_notice_is_made(replica: Replica) -> None:
    """A gateway that was down for a week says once that the token ends within a day."""
    _, key = await _token(replica)
    replica.now = key.expires_at - timedelta(hours=2)
    assert await replica.note() == 1
    [claimed] = await replica.store.part(NoticeStore).claim_notices(replica.now, 9, (ENDS_SOON,))
    assert claimed.id == f"token-{key.id}-86400"


async def test_who_gets_no_notice(replica: Replica) -> None:
    """Short tokens, sessions, rotated tokens and those of suspended users get no notice."""
    user, key = await _token(replica)
    await replica.store.create_token(user, "short", DAY)
    await replica.store.create_session(user, 3 * DAY)
    await replica.store.rotate_token(user, key, DAY)
    other = await replica.store.create_user("bob")
    await replica.store.create_token(other, "laptop", 8 * DAY)
    await replica.store.set_status(other, "suspended")
    for moment in (replica.now, replica.now + DAY / 2, replica.now + 2 * DAY):
        replica.now = moment
        assert await replica.note() == 0


async def test_replicas_that_race_send_a_notice_once(
    replicas: list[Replica], receiver: Receiver
) -> None:
    """Two replicas that make and send the same notices at once: each arrives once."""
    user, key = await _token(replicas[0])
    for _ in range(4):
        await replicas[0].store.create_token(user, None, 30 * DAY)
    for replica in replicas:
        replica.now = key.expires_at - DAY / 2
    assert sum(await asyncio.gather(*(replica.note() for replica in replicas))) == 5
    assert sum(await asyncio.gather(*(replica.deliver() for replica in replicas))) == 5
    assert len(set(receiver.ids)) == len(receiver.ids) == 5
    assert [await replica.deliver() for replica in replicas] == [0, 0]


async def test_a_receiver_that_fails_gets_the_notice_again(
    replicas: list[Replica], receiver: Receiver
) -> None:
    """Any replica retries a notice with growing pauses and the same id, but not for ever."""
    _, key = await _token(replicas[0])
    first, second = replicas
    first.now = second.now = key.expires_at - WEEK
    await first.note()
    receiver.statuses = [500] * (len(PAUSES) + 1)
    assert await first.deliver() == 0
    for pause in PAUSES:
        first.now += pause - timedelta(seconds=1)
        second.now = first.now + timedelta(seconds=1)
        assert await first.deliver() == 0
        assert await second.deliver() == 0
        first.now = second.now
    assert receiver.ids == [f"token-{key.id}-604800"] * (len(PAUSES) + 1)
    second.now += 5 * PAUSES[-1]
    assert await second.deliver() == 0
    assert len(receiver.ids) == len(PAUSES) + 1


async def test_a_replica_that_ends_while_it_sends(
    replicas: list[Replica], receiver: Receiver
) -> None:
    """Another replica sends the notice after the lease, and a late result changes nothing."""
    _, key = await _token(replicas[0])
    first, second = replicas
    first.now = second.now = key.expires_at - DAY
    await first.note()
    [claimed] = await first.store.part(NoticeStore).claim_notices(first.now, 9, (ENDS_SOON,))
    assert await second.deliver() == 0
    second.now += LEASE
    receiver.statuses = [500]
    assert await second.deliver() == 0
    late = first.store.part(NoticeStore)
    await late.postpone_notice(claimed, first.now)
    assert await second.deliver() == 0
    await late.finish_notice(claimed, first.now)
    second.now += PAUSES[1]
    assert await second.deliver() == 1
    assert receiver.ids == [f"token-{key.id}-86400"] * 2


async def test_a_removed_token_is_not_told_of(replica: Replica, receiver: Receiver) -> None:
    """An undelivered notice is dropped when its token is deleted."""
    _, key = await _token(replica)
    replica.now = key.expires_at - WEEK
    await replica.note()
    receiver.statuses = [500]
    await replica.deliver()
    await replica.store.delete_token(key)
    replica.now += DAY
    await replica.note()
    assert await replica.deliver() == 0
    assert len(receiver.ids) == 1


async def test_old_notices_are_forgotten(replica: Replica) -> None:
    """The table keeps no notice of a token that has ended."""
    _, key = await _token(replica)
    replica.now = key.expires_at - DAY
    await replica.note()
    await replica.deliver()
    await replica.store.part(NoticeStore).forget_notices(key.expires_at + 2 * DAY)
    rows = await replica.store._database.fetch("SELECT id FROM notices")
    assert list(rows) == []


async def test_the_sender_does_all_of_it(replica: Replica, receiver: Receiver) -> None:
    """A token of eight days gets its notice as soon as a week is left."""
    _, key = await _token(replica, 8 * DAY)
    assert await replica.sender.send_due() == 0
    await replica.store._database.execute(
        "UPDATE api_keys SET expires_at = $1, created_at = $2 WHERE id = $3",
        key.expires_at - DAY,
        key.created_at - DAY,
        key.id,
    )
    assert await replica.sender.send_due() == 1
    assert await replica.sender.send_due() == 0
    assert receiver.ids == [f"token-{key.id}-604800"]


async def test_the_documented_rights_are_enough(
    postgres: PostgresServer, own_tables: str, receiver: Receiver
) -> None:
    """A role with the rights in docs/identity-postgresql.md creates tokens and tells of them."""
    name, role = postgres.database(own_tables), f"manages_{secrets.token_hex(4)}"
    page = (Path(__file__).parents[3] / "docs/identity-postgresql.md").read_text()
    grants = re.findall(r"^(GRANT .*\b)token_admins;", page, re.MULTILINE)
    grants = [grant for grant in grants if "own_keys" not in grant]
    assert len(grants) == 4
    postgres.sql(name, f"CREATE ROLE {role} LOGIN", *(f"{grant}{role}" for grant in grants))
    replica = await _open(postgres.url(name, user=role), receiver)
    try:
        _, key = await _token(replica)
        replica.now = key.expires_at - DAY
        assert (await replica.note(), await replica.deliver()) == (1, 1)
        assert await replica.sender.send_due() == 0
    finally:
        await replica.sender.close()
        await replica.store.close()
