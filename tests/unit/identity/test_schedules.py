"""authz.identity.batch and memory: no answer is older than its request, in random schedules."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken
from authz.identity.batch import Batcher
from authz.identity.caching_source import CachingSource
from tests.unit.identity.simulation import World, run, too_late

SEEDS = range(50)
ALICE = Identity("uuid", "alice", "alice@example.com", "0123456789", "laptop", None)
Verification = Identity | Rejection
Ask = Callable[[World], Callable[[str], Awaitable[object]]]


def _batcher(*, exclusive: bool, concurrency: int, max_batch: int = 256) -> Ask:
    def make(world: World) -> Callable[[str], Awaitable[object]]:
        return Batcher(
            world.look_up,
            exclusive=exclusive,
            concurrency=concurrency,
            max_batch=max_batch,
            seconds=60,
        ).get

    return make


def _joins_what_is_in_flight(world: World) -> Callable[[str], Awaitable[object]]:
    """Return a naive batcher, which lets a request join a look-up that is already under way."""
    in_flight: dict[str, asyncio.Task[Mapping[str, bool]]] = {}

    async def get(key: str) -> object:
        if key not in in_flight:
            in_flight[key] = asyncio.create_task(world.look_up([key]))
            in_flight[key].add_done_callback(lambda _: in_flight.pop(key))
        return (await asyncio.shield(in_flight[key]))[key]

    return get


async def _play(make: Ask, *, failures: float = 0) -> tuple[int, int, list[World]]:
    """Play every seed; return the numbers of answers and of wrong answers, and the worlds."""
    answered, wrong, worlds = 0, 0, []
    for seed in SEEDS:
        world = World(seed)
        requests = await run(world, make(world), failures=failures)
        answered += len(requests)
        wrong += len(too_late(world, requests, lambda answer: answer is True))
        # The other way round it would be as wrong: nobody is refused before the deletion.
        wrong += sum(
            one.answer is False and one.answered < world.deleted.get(one.key, float("inf"))
            for one in requests
        )
        worlds.append(world)
    return answered, wrong, worlds


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("concurrency", [1, 2, 3])
@pytest.mark.parametrize("max_batch", [1, 256])
async def test_no_answer_is_older_than_its_request(
    exclusive: bool, concurrency: int, max_batch: int
) -> None:
    """No schedule allows a request that arrived after the deletion."""
    make = _batcher(exclusive=exclusive, concurrency=concurrency, max_batch=max_batch)
    answered, wrong, worlds = await _play(make)
    assert answered > 20 * len(SEEDS)
    assert wrong == 0
    assert max(world.most for world in worlds) == concurrency
    if exclusive:
        assert not any(world.twice for world in worlds)


async def test_failing_look_ups_do_not_change_that() -> None:
    """With every third look-up failing, no request hangs and none is wrongly allowed."""
    _, wrong, _ = await _play(_batcher(exclusive=True, concurrency=2), failures=0.33)
    assert wrong == 0


async def test_joining_what_is_in_flight_would_be_caught() -> None:
    """The same schedules expose a batcher that joins look-ups under way."""
    _, wrong, _ = await _play(_joins_what_is_in_flight)
    assert wrong > 10


class Simulated:
    """A source over the simulation, asked in batches as the real ones are."""

    def __init__(self, world: World, *, exclusive: bool, concurrency: int) -> None:
        self._batcher: Batcher[CoderToken, Verification] = Batcher(
            self._look_up, exclusive=exclusive, concurrency=concurrency, seconds=60
        )
        self._world = world
        self.tokens: dict[str, CoderToken] = {}

    def token(self, key: str) -> CoderToken:
        """Return the token that stands for a key of the simulation."""
        return self.tokens.setdefault(key, CoderToken(key, bytes(32)))

    async def _look_up(self, tokens: object) -> dict[CoderToken, Verification]:
        assert isinstance(tokens, tuple)
        found = await self._world.look_up([token.id for token in tokens])
        return {token: ALICE if found[token.id] else Rejection.UNKNOWN for token in tokens}

    async def verify(self, token: CoderToken) -> Verification:
        """Look up in a batch."""
        verification = await self._batcher.get(token)
        assert verification is not None
        return verification

    async def check_ready(self) -> None:
        """Be ready."""

    async def close(self) -> None:
        """Close the batches."""
        await self._batcher.close()


def _allows(answer: object) -> bool:
    return isinstance(answer, Identity)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("concurrency", [1, 2, 3])
@pytest.mark.parametrize(("max_staleness", "stale_if_error"), [(0, 0), (7, 0), (0, 15), (4, 9)])
async def test_no_allow_outlives_its_bound(
    exclusive: bool, concurrency: int, max_staleness: int, stale_if_error: int
) -> None:
    """No schedule has an allow after its bound, or after a rejection was answered."""
    stale = fresh = 0
    for seed in SEEDS:
        world = World(seed)
        source = Simulated(world, exclusive=exclusive, concurrency=concurrency)
        memory = CachingSource(
            source,
            max_staleness=max_staleness,
            stale_if_error=stale_if_error,
            clock=lambda world=world: world.now,  # type: ignore[misc]
        )
        ask = _asking(memory, source)
        requests = await run(world, ask, failures=0.3 if stale_if_error else 0)
        refused: set[str] = set()
        for one in requests:
            if isinstance(one.answer, Rejection):
                refused.add(one.key)
            elif isinstance(one.answer, Identity):
                assert one.key not in refused, f"seed {seed}: allowed after a rejection was known"
                if one.answer.stale:
                    stale += 1
                    ended = world.deleted.get(one.key, float("inf")) + stale_if_error
                    assert one.answered <= ended, f"seed {seed}: too old an answer"
                else:
                    fresh += 1
        not_stale = [one for one in requests if one.answer == ALICE]
        assert too_late(world, not_stale, _allows, max_staleness) == [], f"seed {seed}"
    assert fresh > 300
    assert (stale > 0) == (stale_if_error > 0)


def _asking(memory: CachingSource, source: Simulated) -> Callable[[str], Awaitable[object]]:
    async def ask(key: str) -> object:
        return await memory.verify(source.token(key))

    return ask


async def test_a_bound_that_is_not_kept_would_be_caught() -> None:
    """The same schedules expose a memory that keeps allows for longer than it promises."""
    wrong = 0
    for seed in SEEDS:
        world = World(seed)
        source = Simulated(world, exclusive=True, concurrency=2)
        memory = CachingSource(
            source,
            max_staleness=20,
            stale_if_error=0,
            clock=lambda world=world: world.now,  # type: ignore[misc]
        )
        requests = await run(world, _asking(memory, source))
        wrong += len(too_late(world, requests, _allows, bound=4))
    assert wrong > 5
