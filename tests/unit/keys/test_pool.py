"""authz.keys.pool."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision_types import ChosenKey, Exhausted, FurtherKey
from authz.keys.pool import (
    COOLDOWN_SECONDS,
    MAX_COOLDOWN_SECONDS,
    KeyPool,
    read_retry_after,
)
from authz.keys.refusal import Refusal, Requester
from authz.secret import Secret

FIRST, SECOND = Secret("sk-first-0123456789abcd"), Secret("sk-second-0123456789wxyz")

ALICE = Requester("uuid-of-alice", "Abcdefghi1", "alice")
BOB = Requester("uuid-of-bob", "Bbcdefghi1", "bob")


class Key:
    """A key that a test can replace."""

    def __init__(self, key: Secret | None) -> None:
        self.key = key

    def current(self) -> Secret | None:
        """Return the key."""
        return self.key


class Pool:
    """A pool of two keys under a clock that a test moves."""

    def __init__(self, *keys: Secret | None) -> None:
        self.now = 1000.0
        self.keys = [Key(key) for key in keys or (FIRST, SECOND)]
        self.pool = KeyPool("anthropic", self.keys, has_cooldown=True, clock=lambda: self.now)

    def refuse(
        self, index: int, status: int = 429, retry_after: str = "", who: Requester = ALICE
    ) -> None:
        """Say that the provider has refused a key."""
        key = self.keys[index].key
        assert key is not None
        self.pool.refused(index, key.hint, status, retry_after, who)


def test_the_first_key_serves() -> None:
    """Primary with fallback: as long as the first key does not rest, no other is used."""
    pool = Pool()
    assert [pool.pool.choose() for _ in range(3)] == [ChosenKey(FIRST, 0)] * 3


def test_a_late_report_of_a_date() -> None:
    """A cooldown ends at the date of the provider, however late its report is."""
    pool = Pool()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    pool.pool.refused(0, FIRST.hint, 429, date, ALICE, ago=50)
    (cooldown,) = pool.pool.cooldowns()
    assert 80 < cooldown.seconds <= 100


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [
        (429, "7", 7),
        (429, "", COOLDOWN_SECONDS),
        (429, "soon", COOLDOWN_SECONDS),
        (401, "7", COOLDOWN_SECONDS),
    ],
)
def test_a_refused_key_rests(status: int, retry_after: str, seconds: float) -> None:
    """A 429 for Retry-After or else 60 s, a 401 for 60 s; then the first key serves again."""
    pool = Pool()
    pool.refuse(0, status, retry_after)
    pool.now += seconds - 0.01
    assert pool.pool.choose() == ChosenKey(SECOND, 1)
    pool.now += 0.01
    assert pool.pool.choose() == ChosenKey(FIRST, 0)


@pytest.mark.parametrize("status", [200, 400, 403, 500, 529])
def test_other_answers_put_no_key_to_rest(status: int) -> None:
    """Any other status, such as 403, concerns the request and not the key."""
    pool = Pool()
    pool.refuse(0, status, "7")
    assert pool.pool.choose() == ChosenKey(FIRST, 0)


def test_a_rest_is_never_shortened() -> None:
    """A later, shorter Retry-After does not bring a key back sooner; a longer one holds it."""
    pool = Pool()
    pool.refuse(0, 429, "100")
    pool.refuse(0, 429, "1")
    pool.refuse(0, 401)
    pool.now += 99
    assert pool.pool.choose() == ChosenKey(SECOND, 1)
    pool.refuse(0, 429, "100")
    pool.now += 99
    assert pool.pool.choose() == ChosenKey(SECOND, 1)


def test_exhausted_by_rate_limits() -> None:
    """The wait is the shortest rest of a rate-limited key, rounded up to whole seconds."""
    pool = Pool()
    pool.refuse(0, 429, "30")
    pool.refuse(1, 401)
    pool.refuse(1, 401, who=BOB)
    pool.now += 0.5
    assert pool.pool.choose() == Exhausted(30)


def test_exhausted_by_refusals() -> None:
    """If every key was refused with 401, no wait is suggested."""
    pool = Pool()
    pool.refuse(0, 401)
    pool.refuse(1, 401)
    pool.refuse(1, 401, who=BOB)
    assert pool.pool.choose() == Exhausted(None)


def test_a_replaced_key_does_not_rest() -> None:
    """A replaced key does not rest, and a late refusal of the old key does not affect it."""
    pool = Pool()
    pool.refuse(0)
    pool.keys[0].key = Secret("sk-third-0123456789klmn")
    assert pool.pool.choose() == ChosenKey(pool.keys[0].key, 0)
    pool.pool.refused(0, FIRST.hint, 429, "", ALICE)
    assert pool.pool.choose() == ChosenKey(pool.keys[0].key, 0)


def test_cooldowns_are_told() -> None:
    """Each cooldown is reported with its length, and the end of a replaced key's with 0 seconds."""
    pool, told = Pool(), []
    pool.pool.on_cooldown = lambda *one: told.append(one)
    pool.refuse(0, 401)
    pool.refuse(0, 429, "300")
    pool.refuse(0, 429, "10")
    assert told == [("anthropic", 0, 401, 60.0), ("anthropic", 0, 429, 300.0)]
    pool.pool.choose()
    pool.keys[0].key = Secret("sk-third-0123456789efgh")
    pool.pool.choose()
    pool.pool.choose()
    assert told[2:] == [("anthropic", 0, 429, 0)]


def test_a_key_that_is_not_there_is_passed_over() -> None:
    """An unset variable has no key; without any the provider has none."""
    assert Pool(None, SECOND).pool.choose() == ChosenKey(SECOND, 1)
    assert Pool(None, None).pool.choose() is None


def test_the_only_key_never_rests() -> None:
    """A single `key:` never rests: the provider's own 429 and 401 reach the client."""
    pool = KeyPool("anthropic", [Key(FIRST)], has_cooldown=False)
    pool.refused(0, FIRST.hint, 429, "100", ALICE)
    assert pool.choose() == ChosenKey(FIRST)
    assert KeyPool("anthropic", [], has_cooldown=False).choose() is None


@pytest.mark.parametrize("index", [-1, 2, 10**9])
def test_a_place_that_is_not_there(index: int) -> None:
    """A refusal of an unknown index is ignored, because the configuration may have changed."""
    pool = Pool()
    pool.pool.refused(index, FIRST.hint, 429, "", ALICE)
    assert pool.pool.choose() == ChosenKey(FIRST, 0)


def test_the_log_has_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    """A rest is logged once, with the masked key."""
    pool = Pool()
    pool.refuse(0)
    pool.refuse(0, 429, "100")
    printed = "".join(capsys.readouterr())
    assert printed.count("central key on cooldown") == 1
    assert "alice" in printed
    assert "Abcdefghi1" in printed
    assert FIRST.reveal() not in printed


@pytest.mark.parametrize("status", [401, 429])
def test_one_person_never_rests_the_last_key(
    capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """One user's refusals never rest the last key, however many requests and tokens there are."""
    pool = Pool()
    for _ in range(3):
        pool.refuse(0, status)
        for number in range(10):
            pool.refuse(1, status, "100", Requester("uuid-of-alice", f"token{number}", "alice"))
        assert pool.pool.choose() == ChosenKey(SECOND, 1)
        pool.now += COOLDOWN_SECONDS - 1
    printed = "".join(capsys.readouterr())
    assert printed.count("last central key stays in use") <= 3
    assert "alice" in printed


def test_two_people_rest_the_last_key() -> None:
    """A second user's refusal within a minute rests the last key, for its own Retry-After."""
    for seconds, chosen in (
        (COOLDOWN_SECONDS - 1, Exhausted(7)),
        (COOLDOWN_SECONDS, ChosenKey(FIRST, 0)),
    ):
        pool = Pool(FIRST)
        pool.refuse(0, 429, "100")
        pool.now += seconds
        pool.refuse(0, 429, "7", BOB)
        assert pool.pool.choose() == chosen


def test_the_end_of_the_last_key_is_told_once() -> None:
    """A pool tells when its last key begins to rest, and again only after one was usable."""
    pool = Pool()
    told: list[tuple[str, int, float]] = []
    pool.pool.on_exhausted = lambda *values: told.append(values)
    pool.refuse(0, retry_after="100")
    assert told == []
    for who in (ALICE, BOB, ALICE):
        pool.refuse(1, retry_after="30", who=who)
    assert told == [("anthropic", 2, 30.0)]
    pool.now += 31
    for who in (ALICE, BOB):
        pool.refuse(1, retry_after="200", who=who)
    assert told[1:] == [("anthropic", 2, 69.0)]


def test_tokens_without_a_user_confirm_nothing() -> None:
    """Tokens without a known user confirm nothing, because one person may own several."""
    pool = Pool(FIRST)
    for token in ("Abcdefghi1", "Bbcdefghi1", "Cbcdefghi1"):
        pool.refuse(0, who=Requester("", token))
        assert pool.pool.choose() == ChosenKey(FIRST, 0)
    pool.refuse(0)
    pool.refuse(0, who=Requester("", "Abcdefghi1"))
    assert pool.pool.choose() == ChosenKey(FIRST, 0)
    pool.refuse(0, who=BOB)
    assert isinstance(pool.pool.choose(), Exhausted)


def test_a_replaced_last_key_starts_anew() -> None:
    """Refusals of the previous key do not count for its replacement."""
    pool = Pool(FIRST)
    pool.refuse(0)
    pool.keys[0].key = SECOND
    pool.refuse(0, who=BOB)
    assert pool.pool.choose() == ChosenKey(SECOND, 0)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from([401, 429]),
            st.sampled_from(["", "1", "1000"]),
            st.floats(0, 200),
        ),
        max_size=30,
    )
)
def test_one_person_always_leaves_a_key(refusals: list[tuple[int, int, str, float]]) -> None:
    """One user's refusals, in any order, always leave a usable key."""
    pool = Pool(FIRST, SECOND, Secret("sk-third-0123456789klmn"))
    for index, status, retry_after, seconds in refusals:
        pool.refuse(index, status, retry_after)
        assert isinstance(pool.pool.choose(), ChosenKey)
        pool.now += seconds


@given(st.floats(min_value=0, max_value=10**7))
def test_retry_after_as_a_date(seconds: float) -> None:
    """An HTTP date counts from now, to the second, within the bound; one of the past is 0."""
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    later = now + timedelta(seconds=int(seconds))
    for text in (format_datetime(later, usegmt=True), format_datetime(later)):
        assert read_retry_after(text, lambda: now) == min(int(seconds), MAX_COOLDOWN_SECONDS)
    earlier = format_datetime(now - timedelta(seconds=int(seconds)), usegmt=True)
    assert read_retry_after(earlier, lambda: now) == 0


@given(st.one_of(st.text(), st.integers().map(str), st.from_regex(r"[A-Z][a-z]{2}, .*")))
def test_retry_after_is_bounded(text: str) -> None:
    """Any Retry-After gives None or a number between 0 and the bound, and never raises."""
    seconds = read_retry_after(text)
    assert seconds is None or 0 <= seconds <= MAX_COOLDOWN_SECONDS


def _told(*pools: Pool) -> list[Refusal]:
    """Let each pool learn the refusals of the others, and return these refusals."""
    told: list[Refusal] = []
    for pool in pools:
        others = [other.pool for other in pools if other is not pool]

        def tell(_: str, refusal: Refusal, others: list[KeyPool] = others) -> None:
            told.append(refusal)
            for other in others:
                other.learn(refusal)

        pool.pool.on_refused = tell
    return told


def test_another_process_learns() -> None:
    """A cooldown that one process is told of counts in the other for the same time."""
    one, two = Pool(), Pool()
    told = _told(one, two)
    one.refuse(0, 429, "7")
    assert [pool.pool.choose() for pool in (one, two)] == [ChosenKey(SECOND, 1)] * 2
    assert told == [Refusal(0, FIRST, 429, 7, ALICE)]
    two.now += 6.9
    assert two.pool.choose() == ChosenKey(SECOND, 1)
    two.now += 0.2
    assert two.pool.choose() == ChosenKey(FIRST, 0)


def test_what_was_learned_is_not_told_again() -> None:
    """A learned refusal is not passed on, and an echo prolongs nothing."""
    one, two = Pool(), Pool()
    told = _told(one, two)
    one.refuse(0, 429, "7")
    one.now += 0.5
    assert not one.pool.learn(told[0])
    assert len(told) == 1
    one.now += 6.6
    assert one.pool.choose() == ChosenKey(FIRST, 0)


def test_one_person_over_two_processes() -> None:
    """The last key stays usable, however one user spreads requests over processes."""
    one, two = Pool(), Pool()
    _told(one, two)
    for pool, index in ((one, 0), (two, 1), (one, 1), (two, 1)):
        pool.refuse(index)
    assert [pool.pool.choose() for pool in (one, two)] == [ChosenKey(SECOND, 1)] * 2


def test_two_people_over_two_processes() -> None:
    """Requests of two people at two processes put the last key to rest, in both."""
    one, two = Pool(), Pool()
    _told(one, two)
    one.refuse(0)
    one.refuse(1, 429, "30", ALICE)
    two.refuse(1, 429, "30", BOB)
    assert [pool.pool.choose() for pool in (one, two)] == [Exhausted(30)] * 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_processes_told_at_once(order: tuple[int, int]) -> None:
    """Two keys refused at once at two processes, for one person: each keeps a key."""
    one, two = Pool(), Pool()
    told: list[tuple[Pool, Refusal]] = []
    one.pool.on_refused = lambda _, refusal: told.append((two, refusal))
    two.pool.on_refused = lambda _, refusal: told.append((one, refusal))
    one.refuse(0)
    two.refuse(1)
    for index in order:
        learner, refusal = told[index]
        learner.pool.learn(refusal)
    assert one.pool.choose() == ChosenKey(SECOND, 1)
    assert two.pool.choose() == ChosenKey(FIRST, 0)
    # Another person's request settles it.
    one.refuse(1, who=BOB)
    assert one.pool.choose() == Exhausted(60)


def test_a_late_process_learns_all() -> None:
    """A process that starts late learns all cooldowns, also that of the last key."""
    one, late = Pool(), Pool()
    one.refuse(1, 429, "30")
    one.refuse(0, 401, who=ALICE)
    one.refuse(0, 401, who=BOB)
    one.now += 10
    for refusal in one.pool.cooldowns():
        assert late.pool.learn(refusal)
    assert late.pool.choose() == one.pool.choose() == Exhausted(20)
    assert [(one.index, one.seconds) for one in late.pool.cooldowns()] == [(1, 20), (0, 50)]


def test_another_key_learns_nothing() -> None:
    """A refusal counts only for its own key, and is forgotten when that key is replaced."""
    pool = Pool()
    assert not pool.pool.learn(Refusal(0, SECOND, 429, 60, BOB))
    assert not pool.pool.learn(Refusal(2, FIRST, 429, 60, BOB))
    assert pool.pool.learn(Refusal(0, FIRST, 429, 60, BOB))
    pool.keys[0].key = Secret("sk-new-0123456789")
    assert pool.pool.choose() == ChosenKey(Secret("sk-new-0123456789"), 0)
    assert pool.pool.cooldowns() == []


def test_an_only_key_learns_nothing() -> None:
    """A provider with ``key`` has no cooldowns, also not by refusals of other processes."""
    pool = KeyPool("anthropic", [Key(FIRST)], has_cooldown=False)
    assert not pool.learn(Refusal(0, FIRST, 429, 60, BOB, is_confirmed=True))
    assert pool.choose() == ChosenKey(FIRST, None)


def test_the_other_usable_keys_follow() -> None:
    """The choice includes the other usable keys, and is the same object until they change."""
    pool = Pool(FIRST, None, SECOND)
    chosen = pool.pool.choose()
    assert isinstance(chosen, ChosenKey)
    assert chosen.further == (FurtherKey(SECOND, 2),)
    assert pool.pool.choose() is chosen
    pool.refuse(2)
    alone = pool.pool.choose()
    assert isinstance(alone, ChosenKey)
    assert (alone, alone.further) == (chosen, ())
    pool.now += COOLDOWN_SECONDS + 1
    third = Secret("sk-third-0123456789efgh")
    pool.keys[2].key = third
    renewed = pool.pool.choose()
    assert isinstance(renewed, ChosenKey)
    assert renewed.further == (FurtherKey(third, 2),)
