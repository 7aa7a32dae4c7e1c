"""authz.identity.bad_tokens."""

import pytest

from authz.core.identity import Rejection
from authz.core.tokens import CoderToken, generate
from authz.errors import IdentityUnavailable
from authz.identity.bad_tokens import (
    A_SECOND,
    A_SECOND_LIMITED,
    BURST,
    FINAL,
    FINAL_SECONDS,
    PASSING_SECONDS,
    BadTokens,
    TooManyBadTokens,
)
from tests.unit.identity.asking import unknown
from tests.unit.identity.test_caching_source import Clock


def _asked(bad: BadTokens) -> int:
    """Take questions until one is refused, and return how many were allowed at once."""
    count = 0
    while True:
        try:
            bad.take()
        except TooManyBadTokens:
            return count
        count += 1


@pytest.mark.parametrize("rejection", list(Rejection))
@pytest.mark.parametrize("final", [True, False])
def test_how_long_a_refusal_is_shared(rejection: Rejection, final: bool) -> None:
    """A final refusal is shared for ten seconds, and one that may pass for one second."""
    clock = Clock()
    bad, token = BadTokens(clock), unknown()
    bad.remember(token, rejection, is_final=final)
    lasts = FINAL_SECONDS if final and rejection in FINAL else PASSING_SECONDS
    clock.now += lasts - 0.001
    assert bad.refusal(token) is rejection
    clock.now += 0.001
    assert bad.refusal(token) is None


def test_another_secret_is_another_token() -> None:
    """A good token is not refused because somebody has sent its id with another secret."""
    bad, token = BadTokens(Clock()), unknown()
    bad.remember(token, Rejection.WRONG_SECRET, is_final=True)
    other = CoderToken(token.id, generate()[1].digest)
    assert bad.refusal(other) is None


def test_questions_are_bounded() -> None:
    """Questions are limited to a burst and then a rate per second; good tokens use up nothing."""
    clock = Clock()
    bad = BadTokens(clock)
    assert _asked(bad) == BURST
    clock.now += 5
    assert _asked(bad) == 5 * A_SECOND
    clock.now += 3600
    for _ in range(10 * BURST):
        bad.take()
        bad.give_back()
    assert _asked(bad) == BURST


def test_slower_while_coder_limits() -> None:
    """After a 429 the pace is slower for as long as Coder says, and then as before."""
    clock = Clock()
    bad, token = BadTokens(clock), unknown()
    _asked(bad)
    bad.limited(token, 20)
    with pytest.raises(IdentityUnavailable, match="429"):
        bad.refusal(token)
    clock.now += 15
    assert bad.refusal(token) is None
    assert _asked(bad) == 15 * A_SECOND_LIMITED
    clock.now += 6
    assert _asked(bad) == 5 * A_SECOND_LIMITED + A_SECOND


def test_memory_is_bounded() -> None:
    """The oldest of too many refusals are forgotten."""
    bad, first = BadTokens(Clock()), unknown()
    bad.remember(first, Rejection.UNKNOWN, is_final=True)
    for number in range(10_000):
        token = CoderToken(f"{number:010d}", first.digest)
        bad.remember(token, Rejection.UNKNOWN, is_final=True)
    assert bad.refusal(first) is None
    assert bad.refusal(token) is Rejection.UNKNOWN
