"""authz.identity.caching_source."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken, generate, parse
from authz.errors import IdentityUnavailable, IdentityUnreachable
from authz.identity.caching_source import CachingSource

ALICE = Identity("uuid", "alice", "alice@example.com", "0123456789", "laptop", None)
Verification = Identity | Rejection


@dataclass
class Source:
    """A source that returns what the test sets.

    Attributes:
        verification: of every token, or the error that is raised.
        hold: awaited by each look-up before it returns, taken from the front.
        asked: how many look-ups there were.
    """

    verification: Verification | IdentityUnavailable = ALICE
    hold: list[asyncio.Future[None]] = field(default_factory=list)
    asked: int = 0
    closed: bool = False

    async def verify(self, token: CoderToken) -> Verification:
        """Read the verification now, and return it later when there is a hold."""
        self.asked += 1
        verification = self.verification
        if self.hold:
            await self.hold.pop(0)
        if isinstance(verification, IdentityUnavailable):
            raise verification
        return verification

    async def check_ready(self) -> None:
        """Be ready when there is a verification."""
        if isinstance(self.verification, IdentityUnavailable):
            raise self.verification

    async def close(self) -> None:
        """Remember it."""
        self.closed = True


class Clock:
    """Seconds that pass when told."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


DOWN = IdentityUnreachable("down")


def token_of() -> CoderToken:
    """Make a token as a request brings it, with its text."""
    token = parse(generate()[0])
    assert token is not None
    return token


async def _taken(source: Source) -> None:
    for _ in range(100):
        if source.hold:
            await asyncio.sleep(0)
    assert not source.hold, "no look-up came"


async def ask_in_flight(
    memory: CachingSource, source: Source, token: CoderToken
) -> tuple[asyncio.Task[Verification], asyncio.Future[None]]:
    """Start a request whose look-up has read the current answer; it ends when the future is set."""
    hold = asyncio.get_running_loop().create_future()
    source.hold.append(hold)
    task = asyncio.create_task(memory.verify(token))
    await _taken(source)
    return task, hold


async def test_nothing_is_remembered_by_default() -> None:
    """With both settings at zero, every request is looked up, and fails if its look-up fails."""
    source, token = Source(), token_of()
    memory = CachingSource(source, max_staleness=0, stale_if_error=0, clock=Clock())
    for _ in range(3):
        assert await memory.verify(token) is ALICE
    assert source.asked == 3
    source.verification = DOWN
    with pytest.raises(IdentityUnavailable, match="down"):
        await memory.verify(token)


async def test_max_staleness_is_exact() -> None:
    """An allow is answered again until exactly the bound, counted from when it was asked for."""
    source, clock, token = Source(), Clock(), token_of()
    memory = CachingSource(source, max_staleness=5, stale_if_error=0, clock=clock)
    task, hold = await ask_in_flight(memory, source, token)
    clock.now += 2  # the look-up takes this long, and counts
    hold.set_result(None)
    assert await task is ALICE
    source.verification = Rejection.UNKNOWN
    clock.now += 3
    assert await memory.verify(token) is ALICE
    assert source.asked == 1
    clock.now += 0.001
    assert await memory.verify(token) is Rejection.UNKNOWN


async def test_being_used_does_not_prolong_it() -> None:
    """An allow that is answered again and again still ends at its bound."""
    source, clock, token = Source(), Clock(), token_of()
    memory = CachingSource(source, max_staleness=5, stale_if_error=0, clock=clock)
    for _ in range(12):
        await memory.verify(token)
        clock.now += 1
    assert source.asked == 2


async def test_another_secret_is_not_remembered() -> None:
    """An id that was good with its secret is looked up when it comes with another."""
    source, token = Source(), token_of()
    memory = CachingSource(source, max_staleness=5, stale_if_error=5, clock=Clock())
    await memory.verify(token)
    forged = parse(f"{token.id}-{'x' * 22}")
    assert forged is not None
    source.verification = DOWN
    with pytest.raises(IdentityUnavailable):
        await memory.verify(forged)


async def test_stale_if_error_marks_and_counts() -> None:
    """An allow is reused until the bound while the source is down, and is marked and counted."""
    source, clock, token = Source(), Clock(), token_of()
    counted: list[None] = []
    memory = CachingSource(
        source,
        max_staleness=0,
        stale_if_error=60,
        on_stale=lambda: counted.append(None),
        clock=clock,
    )
    assert await memory.verify(token) is ALICE
    source.verification = DOWN
    clock.now += 60
    assert await memory.verify(token) == replace(ALICE, stale=True)
    assert len(counted) == 1
    clock.now += 0.001
    with pytest.raises(IdentityUnavailable, match="down"):
        await memory.verify(token)
    with pytest.raises(IdentityUnavailable, match="down"):
        await memory.verify(token_of())
    assert len(counted) == 1
    source.verification = ALICE
    assert await memory.verify(token) is ALICE


async def test_an_answer_that_says_nothing_is_no_outage() -> None:
    """An answer that doesn't confirm a token ends its stale grace, also for a later outage."""
    source, token = Source(), token_of()
    memory = CachingSource(source, max_staleness=0, stale_if_error=60, clock=Clock())
    assert await memory.verify(token) is ALICE
    source.verification = IdentityUnavailable("answered 429")
    with pytest.raises(IdentityUnavailable, match="429"):
        await memory.verify(token)
    source.verification = DOWN
    with pytest.raises(IdentityUnavailable, match="down"):
        await memory.verify(token)


async def test_the_time_of_the_failure_counts() -> None:
    """A late failure is answered with an allow that is young enough then, not at its start."""
    source, clock, token = Source(), Clock(), token_of()
    memory = CachingSource(source, max_staleness=0, stale_if_error=5, clock=clock)
    await memory.verify(token)
    source.verification = DOWN
    clock.now += 4
    task, hold = await ask_in_flight(memory, source, token)
    clock.now += 2
    hold.set_result(None)
    with pytest.raises(IdentityUnavailable):
        await task


async def test_a_rejection_ends_every_allow() -> None:
    """Once a rejection was learned, neither setting brings the older allow back."""
    source, clock, token = Source(), Clock(), token_of()
    memory = CachingSource(source, max_staleness=5, stale_if_error=60, clock=clock)
    await memory.verify(token)
    clock.now += 6
    source.verification = Rejection.UNKNOWN
    assert await memory.verify(token) is Rejection.UNKNOWN
    source.verification = DOWN
    with pytest.raises(IdentityUnavailable):
        await memory.verify(token)


@pytest.mark.parametrize("later", [-1, 0, 1])
async def test_a_rejection_wins_over_an_older_allow_in_flight(later: int) -> None:
    """An allow that returns after a rejection is dropped, whichever request was first."""
    source, clock, token = Source(), Clock(), token_of()
    memory = CachingSource(source, max_staleness=5, stale_if_error=60, clock=clock)
    if later > 0:
        # Its look-up waits, and starts after the deletion; so it knows better.
        queued = asyncio.get_running_loop().create_future()
        source.verification = Rejection.UNKNOWN
        source.hold.append(queued)
        refused = asyncio.create_task(memory.verify(token))
        await _taken(source)
        clock.now += later
        source.verification = ALICE
    allowed, hold = await ask_in_flight(memory, source, token)
    if later <= 0:
        clock.now -= later
        source.verification = Rejection.UNKNOWN
        assert await memory.verify(token) is Rejection.UNKNOWN
    else:
        queued.set_result(None)
        assert await refused is Rejection.UNKNOWN
    clock.now += 1
    hold.set_result(None)
    assert await allowed is Rejection.UNKNOWN
    source.verification = DOWN
    with pytest.raises(IdentityUnavailable):
        await memory.verify(token)


async def test_a_token_that_is_good_again_passes() -> None:
    """A rejection does not affect later requests, since a user may be activated again."""
    source, clock, token = Source(Rejection.USER_INACTIVE), Clock(), token_of()
    memory = CachingSource(source, max_staleness=5, stale_if_error=0, clock=clock)
    assert await memory.verify(token) is Rejection.USER_INACTIVE
    source.verification = ALICE
    clock.now += 0.001
    assert await memory.verify(token) is ALICE
    assert await memory.verify(token) is ALICE
    assert source.asked == 2


@pytest.mark.parametrize("failing", [False, True])
async def test_never_after_expiry(failing: bool) -> None:
    """An allow is not answered again once its token has expired, whatever the bounds say."""
    ends = datetime.now(UTC) + timedelta(seconds=0.2)
    source, token = Source(replace(ALICE, expires_at=ends)), token_of()
    memory = CachingSource(
        source, max_staleness=0 if failing else 60, stale_if_error=60, clock=Clock()
    )
    await memory.verify(token)
    source.verification = DOWN
    try:
        verification = await memory.verify(token)
    except IdentityUnavailable:
        # On a busy machine it has ended by now.
        assert datetime.now(UTC) >= ends
    else:
        assert isinstance(verification, Identity)
        assert verification.stale is failing
    await asyncio.sleep(0.25)
    with pytest.raises(IdentityUnavailable):
        await memory.verify(token)


async def test_memory_is_bounded_and_bad_tokens_push_out_no_good_one() -> None:
    """A flood of either kind is remembered up to the limit; the least recently used go first."""
    source, token = Source(), token_of()
    memory = CachingSource(source, max_staleness=5, stale_if_error=0, max_tokens=10)
    await memory.verify(token)
    source.verification = Rejection.UNKNOWN
    for _ in range(50):
        await memory.verify(token_of())
    source.verification, source.asked = ALICE, 0
    assert await memory.verify(token) is ALICE
    assert source.asked == 0
    for _ in range(50):
        await memory.verify(token_of())
        await memory.verify(token)
    assert source.asked == 50, "what is in use stays"
    for _ in range(10):
        await memory.verify(token_of())
    await memory.verify(token)
    assert source.asked == 61
    assert len(memory._good) == len(memory._bad) == 10


async def test_no_secret_is_kept() -> None:
    """The cache keeps a token's digest and not its text."""
    source = Source()
    memory = CachingSource(source, max_staleness=5, stale_if_error=5)
    await memory.verify(token_of())
    source.verification = Rejection.UNKNOWN
    await memory.verify(token_of())
    assert [token.text for token in (*memory._good, *memory._bad)] == [None, None]


async def test_ready_and_close_are_the_source_s() -> None:
    """Remembered answers don't make a source ready; closing closes it."""
    source = Source(DOWN)
    memory = CachingSource(source, max_staleness=5, stale_if_error=5)
    with pytest.raises(IdentityUnavailable):
        await memory.check_ready()
    await memory.close()
    assert source.closed
