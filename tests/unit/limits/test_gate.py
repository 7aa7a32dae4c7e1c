"""authz.limits.gate in a real check: refusals, ends, a store that is away."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from authz.check.authorizer import Authorizer
from authz.check.ext_authz import metadata_of
from authz.config.settings import Config
from authz.config.shared_limits import SharedLimits
from authz.core.groups import Group
from authz.core.identity import Identity
from authz.core.tokens import CoderToken
from authz.errors import StoreError
from authz.keys.pool import KeyPool
from authz.limits.gate import LimitGate
from authz.limits.limit import LimitStore, Outcome, Settled, Wanted
from authz.limits.memory_store import MemoryStore
from authz.metrics import Metrics
from authz.secret import Secret
from tests.support.checks import allows, answer, question
from tests.support.identities import identity_of

from .support import LIFE_MS, Clock, opened

ALICE, BOB = "Abcdefghi1-Abcdefghijklmnopqrstu2", "Bbcdefghi1-Bbcdefghijklmnopqrstu2"


class _Central:
    _key = Secret("sk-ant-central-0123456789")

    def current(self) -> Secret | None:
        return self._key


class _People:
    """Alice and Bob, both in a group."""

    is_immediate = True

    async def verify(self, token: CoderToken) -> Identity:
        is_alice = token.id == ALICE[:10]
        found = identity_of(ALICE if is_alice else BOB, "alice" if is_alice else "bob")
        object.__setattr__(found, "memberships", (Group("research"),))
        return found

    async def check_ready(self) -> None: ...
    async def close(self) -> None: ...


def _gate(store: LimitStore, **limits: object) -> LimitGate:
    return LimitGate(store, SharedLimits.model_validate(limits))


def _authorizer(gate: LimitGate) -> Authorizer:
    keys = {"anthropic": KeyPool("anthropic", [_Central()], has_cooldown=False)}
    return Authorizer(Config(), _People(), keys, gates=[gate])


def _check(token: str = ALICE, own: bool = False) -> bytes:
    if own:
        own_key = ("x-api-key", "sk-ant-own-012345")
        return question([("x-coder-ai-governance-token", token), own_key])
    return question([("x-api-key", token)])


def _refusal(message: bytes) -> tuple[int, str, str, str]:
    """Return the status, the reason, the wait and the text of a refusal."""
    assert not allows(message)
    denied = answer(message).denied_response
    headers = {one.header.key: one.header.value for one in denied.headers}
    assert "x-should-retry" not in headers, "the SDKs wait and try again by themselves"
    error = json.loads(denied.body)["error"]
    reason = metadata_of(message)["reason"]
    return denied.status.code, reason, headers["retry-after"], error["message"]


@asynccontextmanager
async def _running(gate: LimitGate) -> AsyncIterator[Authorizer]:
    gate.start()
    try:
        yield _authorizer(gate)
    finally:
        await gate.stop(5)


pytestmark = pytest.mark.usefixtures("patient")


async def test_requests_of_a_minute(url: str | None) -> None:
    """The refusal names the limit, and after the time that it tells the request passes."""
    clock = Clock()
    async with opened(url, clock) as store:
        gate = _gate(store, each_user={"requests_per_minute": 2})
        async with _running(gate) as authorizer:
            for _ in range(2):
                assert allows(await authorizer.check(_check()))
                clock.now_ms += 10_250
            status, reason, wait, text = _refusal(await authorizer.check(_check()))
            assert (status, reason) == (429, "requests_limited")
            assert text == (
                'The limit of user "alice" is reached: 2 requests per minute. '
                f"Try again in {wait} s."
            )
            # Another user has a minute of her own.
            assert allows(await authorizer.check(_check(BOB)))
            clock.now_ms += int(wait) * 1000 - 1000
            assert not allows(await authorizer.check(_check()))
            clock.now_ms += 1000
            assert allows(await authorizer.check(_check()))


async def test_concurrent_requests(url: str | None) -> None:
    """A request holds its place until its record comes, in a group also for the others."""
    async with opened(url, Clock()) as store:
        gate = _gate(store, groups={"research": {"concurrent_requests": 1}})
        async with _running(gate) as authorizer:
            first = await authorizer.check(_check())
            assert allows(first)
            status, reason, wait, text = _refusal(await authorizer.check(_check(BOB)))
            assert (status, reason, wait) == (429, "concurrency_limited", "1")
            assert text.startswith(
                'The limit of group "research" is reached: 1 concurrent requests.'
            )
            gate.end(metadata_of(first)["entry"], 0)
            if url is not None:
                await gate.flush()
            assert allows(await authorizer.check(_check(BOB)))


async def test_tokens_of_a_minute(url: str | None) -> None:
    """Tokens count when the record comes, for a token and a user's own key, too."""
    clock = Clock()
    async with opened(url, clock) as store:
        gate = _gate(store, each_token={"tokens_per_minute": 1000})
        async with _running(gate) as authorizer:
            first, second = [await authorizer.check(_check(own=own)) for own in (False, True)]
            assert allows(first)
            assert allows(second)
            for message, tokens in ((first, 400), (second, 600)):
                gate.end(metadata_of(message)["entry"], tokens)
            if url is not None:
                await gate.flush()
            status, reason, wait, text = _refusal(await authorizer.check(_check()))
            assert (status, reason, wait) == (429, "tokens_limited", "61")
            assert 'token "token-of-alice" is reached: 1000 tokens per minute' in text
            clock.now_ms += 61_000
            assert allows(await authorizer.check(_check()))


async def test_the_limit_of_a_provider_counts_central_keys_only(url: str | None) -> None:
    """All users share the limit, and a user's own key does not count."""
    async with opened(url, Clock()) as store:
        gate = _gate(store, providers={"anthropic": {"requests_per_minute": 1}})
        async with _running(gate) as authorizer:
            assert allows(await authorizer.check(_check(own=True)))
            assert allows(await authorizer.check(_check()))
            _, reason, _, text = _refusal(await authorizer.check(_check(BOB)))
            assert reason == "requests_limited"
            assert 'provider "anthropic"' in text
            assert allows(await authorizer.check(_check(BOB, own=True)))


async def test_limits_change_at_a_reload_and_counts_stay() -> None:
    """A named user replaces the limits one by one, and null means none."""
    gate = _gate(MemoryStore(LIFE_MS), each_user={"requests_per_minute": 1})
    authorizer = _authorizer(gate)
    assert allows(await authorizer.check(_check()))
    assert not allows(await authorizer.check(_check()))
    values = {"each_user": {"requests_per_minute": 1, "concurrent_requests": 2}}
    alice = {"alice": {"requests_per_minute": None}}
    gate.use(SharedLimits.model_validate({**values, "users": alice}))
    assert allows(await authorizer.check(_check()))
    assert allows(await authorizer.check(_check()))
    assert _refusal(await authorizer.check(_check()))[1] == "concurrency_limited"


async def test_memory_needs_no_task() -> None:
    """With SQLite identities and counts in memory, a check never waits."""
    authorizer = _authorizer(_gate(MemoryStore(LIFE_MS), each_user={"requests_per_minute": 9}))
    assert authorizer.is_immediate
    with pytest.raises(StopIteration):
        next(authorizer.check(_check()).__await__())


class _Away:
    """A store that a test switches off, or that answers too late."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.is_on = True
        self.hangs = False

    async def admit(self, batch: Sequence[Wanted]) -> Mapping[Wanted, Outcome]:
        self._check()
        outcomes = await self.store.admit(batch)
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        return outcomes

    async def settle(self, batch: Settled) -> None:
        self._check()
        await self.store.settle(batch)

    async def close(self) -> None: ...

    def _check(self) -> None:
        if not self.is_on:
            raise StoreError("the store is away")


@pytest.mark.parametrize("passes", [False, True])
async def test_a_store_that_is_away(passes: bool) -> None:
    """Limited requests get a 503, or pass if so configured; requests without limits pass."""
    away, metrics = _Away(MemoryStore(LIFE_MS)), Metrics()
    shared = {
        "users": {"alice": {"concurrent_requests": 1}},
        "unavailable": "pass" if passes else "refuse",
    }
    gate = LimitGate(away, SharedLimits.model_validate(shared), metrics.count_uncounted)
    authorizer = _authorizer(gate)
    first = await authorizer.check(_check())
    assert allows(first)
    away.is_on = False
    with capture_logs() as logs:
        for _ in range(2):
            message = await authorizer.check(_check())
            assert allows(message) == passes
            if not passes:
                assert _refusal(message)[:3] == (503, "limits_unavailable", "2")
    assert [one["why"] for one in logs if one["log_level"] == "error"] == ["the store is away"]
    assert allows(await authorizer.check(_check(BOB)))
    uncounted = metrics.registry.get_sample_value("authz_limits_uncounted_total")
    assert uncounted == (2 if passes else 0)
    # The end of the first request waits for the store.
    gate.end(metadata_of(first)["entry"], 0)
    with pytest.raises(StoreError):
        await gate.flush()
    away.is_on = True
    assert not allows(await authorizer.check(_check()))
    await gate.flush()
    assert allows(await authorizer.check(_check()))


@pytest.mark.parametrize("how", ["cancelled", "late"])
async def test_a_late_answer_gives_its_place_back(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """If the store's answer comes too late, the request's place is given back soon after."""
    from authz.limits import gate as module

    monkeypatch.setattr(module, "LOOK_UP_SECONDS", 0.0)
    store = MemoryStore(LIFE_MS)
    away = _Away(store)
    away.hangs = True
    gate = _gate(away, each_user={"concurrent_requests": 1})
    if how == "late":
        gate._batcher._seconds = 0.01
    task = asyncio.create_task(_authorizer(gate).check(_check()))
    for _ in range(100):
        if not store.open:
            await asyncio.sleep(0)
    if how == "cancelled":
        task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError) or not allows(result)  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    await gate.flush()
    assert not store.open
    await gate.stop(5)


async def test_many_ends_wait_in_order_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends beyond the bound are lost, and a stop counts those that wait."""
    from authz.limits import gate as module

    monkeypatch.setattr(module, "WAITING_MAX", 3)
    store = MemoryStore(LIFE_MS)
    gate = _gate(_Away(store), each_user={"concurrent_requests": 9})
    authorizer = _authorizer(gate)
    messages = [await authorizer.check(_check()) for _ in range(4)]
    for message in messages:
        gate.end(metadata_of(message)["entry"], 0)
    await gate.stop(5)
    assert list(store.open.values()) == [1]


class _Swallowing(MemoryStore):
    """A store whose client takes a cancellation for the end of its work."""

    async def settle(self, batch: Settled) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


async def test_a_stop_ends_although_a_client_swallows_it() -> None:
    """A stop ends the counting task, although the client swallows its cancellation."""
    gate = _gate(_Swallowing(LIFE_MS))
    gate.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await gate.stop(5)


async def test_a_token_without_a_known_user_has_the_least_limit() -> None:
    """A token without a known user gets the lowest limit of any user, and counts by itself."""
    from authz.core.admission import Admission
    from authz.core.rules import Mode
    from authz.limits.applying import Applying

    shared = {"each_user": {"requests_per_minute": 9}, "users": {"x": {"requests_per_minute": 2}}}
    applying = Applying(SharedLimits.model_validate(shared))
    nameless = Identity("", "", "", "Abcdefghi1", "", None)
    (one,) = applying.limits_of(Admission(nameless, "anthropic", Mode.CENTRALIZED, "a-1"))
    assert (one.most, one.key, one.name) == (
        2, "requests:user:token:Abcdefghi1", "token:Abcdefghi1",
    )  # fmt: skip
