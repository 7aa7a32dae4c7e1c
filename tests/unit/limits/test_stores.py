"""Every place that counts, against a model that keeps a list of all requests."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.limits.limit import PASSED, Limit, LimitKind, Outcome, Owner, Reached, Wanted

from .support import LIFE_MS, Clock, ask, limit, opened, request

pytestmark = pytest.mark.usefixtures("patient")

_LIMITS = (
    limit(LimitKind.REQUESTS, 3),
    limit(LimitKind.TOKENS, 40),
    limit(LimitKind.CONCURRENT, 2),
    limit(LimitKind.REQUESTS, 5, Owner.PROVIDER, "anthropic"),
    limit(LimitKind.CONCURRENT, 3, Owner.GROUP, "straße"),
)
_SETS = st.sets(st.sampled_from(_LIMITS), min_size=1).map(lambda one: tuple(sorted(one, key=str)))
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.lists(_SETS, min_size=1, max_size=4)),
        st.tuples(st.just("end"), st.integers(0, 12), st.integers(0, 60)),
        st.tuples(st.just("wait"), st.sampled_from([1, 400, 7_000, 30_000, 61_000, LIFE_MS])),
    ),
    min_size=4,
    max_size=14,
)


@dataclass
class _Model:
    """The right answers, computed from all amounts instead of from sums."""

    now_ms: int
    added: list[tuple[int, str, int]] = field(default_factory=list)
    open: dict[str, tuple[int, tuple[Limit, ...]]] = field(default_factory=dict)

    def used(self, one: Limit, at_ms: int) -> int:
        if one.kind is LimitKind.CONCURRENT:
            return sum(
                one in limits for expires_ms, limits in self.open.values() if expires_ms > at_ms
            )
        oldest = at_ms // 1000 - 60
        return sum(n for at, key, n in self.added if key == one.key and at // 1000 >= oldest)

    def ask(self, wanted: Wanted) -> Outcome:
        full = [one for one in wanted.limits if self.used(one, self.now_ms) >= one.most]
        if full:
            waits = {one: self.wait_ms(one) for one in full}
            # Of several with the same wait, the first one counts.
            longest = max(full, key=lambda one: waits[one])
            return Reached(longest, waits[longest])
        for one in wanted.limits:
            if one.kind is LimitKind.REQUESTS:
                self.added.append((self.now_ms, one.key, 1))
        self.open[wanted.request_id] = (self.now_ms + LIFE_MS, wanted.limits)
        return PASSED

    def wait_ms(self, one: Limit) -> int:
        if one.kind is LimitKind.CONCURRENT:
            return 0
        seconds = (self.now_ms // 1000 + more for more in range(1, 62))
        at = next(second for second in seconds if self.used(one, second * 1000) < one.most)
        return at * 1000 - self.now_ms

    def end(self, request_id: str, tokens: int) -> None:
        expires_ms, limits = self.open.pop(request_id, (0, ()))
        if expires_ms > self.now_ms:
            for one in limits:
                if one.kind is LimitKind.TOKENS:
                    self.added.append((self.now_ms, one.key, tokens))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_every_place_counts_as_the_model(url: str | None, steps: list[tuple[object, ...]]) -> None:
    """Random batches, ends and pauses: every answer and every wait is that of the model."""

    async def run() -> None:
        clock = Clock()
        model, number = _Model(clock.now_ms), 0
        async with opened(url, clock) as store:
            for step in steps:
                match step:
                    case ("ask", list(sets)):
                        batch = [request(number + i, *one) for i, one in enumerate(sets)]
                        number += len(batch)
                        assert await ask(store, *batch) == [model.ask(one) for one in batch]
                    case ("end", int(which), int(tokens)):
                        await store.settle({f"a-{which:04d}": tokens})
                        model.end(f"a-{which:04d}", tokens)
                    case ("wait", int(pause)):
                        clock.now_ms += pause
                        model.now_ms = clock.now_ms

    asyncio.run(run())


async def test_a_refused_request_counts_nowhere(url: str | None) -> None:
    """A limit with room does not count a request that another limit refuses."""
    clock = Clock()
    slot, minute = limit(LimitKind.CONCURRENT, 1), limit(LimitKind.REQUESTS, 2)
    async with opened(url, clock) as store:
        first = request(1, slot, minute)
        assert await ask(store, first, request(2, slot, minute)) == [PASSED, Reached(slot, 0)]
        await store.settle({first.request_id: 0})
        assert await ask(store, request(3, slot, minute)) == [PASSED]


async def test_a_request_ends_once(url: str | None) -> None:
    """A record that comes twice, or of an unknown request, counts no tokens again."""
    clock = Clock()
    tokens = limit(LimitKind.TOKENS, 100)
    async with opened(url, clock) as store:
        assert await ask(store, request(1, tokens)) == [PASSED]
        for _ in range(2):
            await store.settle({"a-0001": 60, "a-0999": 500})
        assert await ask(store, request(2, tokens)) == [PASSED]
        await store.settle({"a-0002": 60})
        assert await ask(store, request(3, tokens)) == [Reached(tokens, 61_000)]


async def test_a_lost_request_ends_by_itself(url: str | None) -> None:
    """Without a record, a request in progress no longer counts after its life."""
    clock = Clock()
    slot = limit(LimitKind.CONCURRENT, 1)
    async with opened(url, clock) as store:
        assert await ask(store, request(1, slot)) == [PASSED]
        clock.now_ms += LIFE_MS - 1
        assert await ask(store, request(2, slot)) == [Reached(slot, 0)]
        clock.now_ms += 1
        assert await ask(store, request(3, slot)) == [PASSED]
        # The late record of the first one does not end the third one.
        await store.settle({"a-0001": 0})
        assert await ask(store, request(4, slot)) == [Reached(slot, 0)]


async def test_large_numbers_stay_exact(url: str | None) -> None:
    """A window holds a trillion tokens to the last one."""
    clock = Clock()
    tokens = limit(LimitKind.TOKENS, 10**12)
    async with opened(url, clock) as store:
        assert await ask(store, request(1, tokens), request(2, tokens)) == [PASSED, PASSED]
        await store.settle({"a-0001": 10**12 - 1})
        assert await ask(store, request(3, tokens)) == [PASSED]
        await store.settle({"a-0002": 1})
        assert await ask(store, request(4, tokens)) == [Reached(tokens, 61_000)]
