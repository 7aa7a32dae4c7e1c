"""authz.keys.fallbacks."""

from authz.core.decision_types import ChosenKey, Exhausted, FurtherKey
from authz.keys.fallbacks import PoolWithFallbacks
from authz.keys.pool import KeyPool
from authz.secret import Secret
from tests.unit.keys.test_pool import ALICE, BOB, FIRST, SECOND, Key, Pool

THIRD = Secret("sk-third-0123456789efgh")
THERE = "backup https://example.com/"


def _backup(key: Secret | None) -> KeyPool:
    return KeyPool("backup", [Key(key)], has_cooldown=False)


def test_keys_of_the_fallback_provider_come_last() -> None:
    """Fallback keys come last, with their destination; the same choice is the same object."""
    pool = PoolWithFallbacks(Pool().pool, [(THERE, _backup(THIRD))])
    chosen = pool.choose()
    assert isinstance(chosen, ChosenKey)
    assert (chosen.key, chosen.index) == (FIRST, 0)
    assert chosen.further == (FurtherKey(SECOND, 1), FurtherKey(THIRD, None, THERE))
    assert pool.choose() is chosen


def test_an_exhausted_pool_has_the_fallback_provider() -> None:
    """While all own keys are on cooldown, only those of the fallback provider are left."""
    own = Pool(FIRST)
    own.refuse(0, who=ALICE)
    own.refuse(0, who=BOB)
    chosen = PoolWithFallbacks(own.pool, [(THERE, _backup(THIRD))]).choose()
    assert isinstance(chosen, Exhausted)
    assert chosen.further == (FurtherKey(THIRD, None, THERE),)
    without = PoolWithFallbacks(own.pool, [(THERE, _backup(None))]).choose()
    assert isinstance(without, Exhausted)
    assert without.further == ()


def test_a_provider_without_a_key_stays_without() -> None:
    """A fallback provider is not used if the provider itself never had a central key."""
    own = KeyPool("first", [Key(None)], has_cooldown=False)
    assert PoolWithFallbacks(own, [(THERE, _backup(THIRD))]).choose() is None
