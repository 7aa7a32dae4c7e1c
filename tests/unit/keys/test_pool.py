"""authz.keys.pool."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision_types import ChosenKey, Exhausted
from authz.keys.pool import (
    COOLDOWN_SECONDS,
    MAX_COOLDOWN_SECONDS,
    KeyPool,
    Requester,
    read_retry_after,
)
from authz.secret import Secret

FIRST, SECOND = Secret("sk-first-0123456789abcd"), Secret("sk-second-0123456789wxyz")

ALICE = Requester("uuid-of-alice", "Abcdefghi1", "alice")
BOB = Requester("uuid-of-bob", "Bbcdefghi1", "bob")


class Key:
    """A key that a test can replace."""

    def __init__(self, key: Secret | None) -> None:
        self.key = key

    def current(self) -> Secret | None:
        """Return it."""
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
    """403 and everything else concern the request, not the key."""
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
    """The shortest rest of a rate-limited key is told, in whole seconds rounded up."""
    pool = Pool()
    pool.refuse(0, 429, "30")
    pool.refuse(1, 401)
    pool.refuse(1, 401, who=BOB)
    pool.now += 0.5
    assert pool.pool.choose() == Exhausted(30)


def test_exhausted_by_refusals() -> None:
    """Where every key was answered with 401, waiting is no advice."""
    pool = Pool()
    pool.refuse(0, 401)
    pool.refuse(1, 401)
    pool.refuse(1, 401, who=BOB)
    assert pool.pool.choose() == Exhausted(None)


def test_a_replaced_key_does_not_rest() -> None:
    """The rest is the key's, not its place's; what is told of the old key is not the new one's."""
    pool = Pool()
    pool.refuse(0)
    pool.keys[0].key = Secret("sk-third-0123456789klmn")
    assert pool.pool.choose() == ChosenKey(pool.keys[0].key, 0)
    pool.pool.refused(0, FIRST.hint, 429, "", ALICE)
    assert pool.pool.choose() == ChosenKey(pool.keys[0].key, 0)


def test_a_key_that_is_not_there_is_passed_over() -> None:
    """An unset variable has no key; without any the provider has none."""
    assert Pool(None, SECOND).pool.choose() == ChosenKey(SECOND, 1)
    assert Pool(None, None).pool.choose() is None


def test_the_only_key_never_rests() -> None:
    """`key:` is no pool: the provider's own 429 and 401 reach the client each time."""
    pool = KeyPool("anthropic", [Key(FIRST)], has_cooldown=False)
    pool.refused(0, FIRST.hint, 429, "100", ALICE)
    assert pool.choose() == ChosenKey(FIRST)
    assert KeyPool("anthropic", [], has_cooldown=False).choose() is None


@pytest.mark.parametrize("index", [-1, 2, 10**9])
def test_a_place_that_is_not_there(index: int) -> None:
    """It is ignored: the configuration may have changed since."""
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
    """However many of a person's requests are refused, by whichever of their tokens."""
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
    """What the second one's refusal says counts, if it comes within a minute of the first's."""
    for seconds, chosen in (
        (COOLDOWN_SECONDS - 1, Exhausted(7)),
        (COOLDOWN_SECONDS, ChosenKey(FIRST, 0)),
    ):
        pool = Pool(FIRST)
        pool.refuse(0, 429, "100")
        pool.now += seconds
        pool.refuse(0, 429, "7", BOB)
        assert pool.pool.choose() == chosen


def test_tokens_without_a_user_confirm_nothing() -> None:
    """A person may have many tokens whose user is not known, and one whose user is."""
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
    """What was refused of the key before says nothing about this one."""
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
    """Whatever one person's requests are answered, in whichever order, a key serves."""
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
    """Whatever a provider sends, it is nothing or between 0 and the bound, and never raises."""
    seconds = read_retry_after(text)
    assert seconds is None or 0 <= seconds <= MAX_COOLDOWN_SECONDS
