"""Bounds what bad tokens cost an identity source that limits its callers.

Coder limits a good token by its user and a bad one by the address that asks, which is ours for all
of them. Without a bound, a flood of invented tokens uses that limit up, and Coder then answers 429
instead of 401 for each token that was deleted or expired.
"""

import time
from collections.abc import Callable

from cachetools import TLRUCache

from authz.core.identity import Rejection
from authz.core.tokens import CoderToken
from authz.errors import IdentityUnavailable

FINAL_SECONDS = 10.0
"""How long the refusal of a token is shared that can't become good again."""
PASSING_SECONDS = 1.0
"""How long any other refusal is shared: a suspended user may be active again."""
FINAL = frozenset({Rejection.UNKNOWN, Rejection.WRONG_SECRET, Rejection.EXPIRED})
"""Refusals that last, where the source itself says so.

- Unknown: Coder draws the id and the secret of a token at random when it makes it, so a token that
  is presented before it exists was guessed. A deleted token is not made again.
- Wrong secret: the hash of an existing id does not change.
- Expired: Coder prolongs only tokens that have not expired yet.

A user can be activated again and can sign in again at the login provider, and the audience depends
on Coder's configuration: those refusals pass.
"""
BURST, A_SECOND, A_SECOND_LIMITED = 60, 6.0, 1.0
"""Questions about bad tokens: at once, and then in each second. In a minute that is less than the
512 that Coder allows, so one process leaves room for tokens that were just deleted. While Coder
limits us the pace is slower, so that several processes leave room too."""
_LIMITED_MAX_SECONDS = 60.0
_MAX_TOKENS = 10_000
_TOO_MANY = (
    "many bad tokens arrive: tokens that were not good before have to wait, so that Coder's rate "
    "limit is kept"
)


_Refusal = tuple[Rejection | None, float]
"""A refusal and for how many seconds it is shared; None if Coder answered 429."""


class TooManyBadTokens(IdentityUnavailable):
    """The source is not asked, because bad tokens have used up what they may cost it."""


class BadTokens:
    """Remembers refusals for a short time, and bounds questions about tokens not known as good.

    A token is known by the digest of its secret and its id, so a good token's id, which is no
    secret, with another secret harms nobody.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: TLRUCache[CoderToken, _Refusal] = TLRUCache(
            _MAX_TOKENS, ttu=lambda _, refusal, now: now + refusal[1], timer=clock
        )
        self._left, self._filled = float(BURST), clock()
        self._limited_until = -1.0

    def refusal(self, token: CoderToken) -> Rejection | None:
        """Return the refusal of a token, if it is shared now.

        Raises:
            IdentityUnavailable: Coder has just answered 429 for this token.
        """
        found = self._refused.get(token)
        if found is None:
            return None
        rejection, _ = found
        if rejection is None:
            raise IdentityUnavailable("Coder's API has just answered 429 for this token")
        return rejection

    def remember(self, token: CoderToken, rejection: Rejection, *, is_final: bool) -> None:
        """Share a refusal from now on.

        Args:
            is_final: whether the source's own words say that it is one of ``FINAL``.
        """
        seconds = FINAL_SECONDS if is_final and rejection in FINAL else PASSING_SECONDS
        self._keep(token, rejection, seconds)

    def limited(self, token: CoderToken, retry_after: float) -> None:
        """Slow down, because Coder has answered 429 for a token that was not known as good.

        Others are still asked about, slowly: a good token passes at Coder even now.
        """
        seconds = min(max(retry_after, PASSING_SECONDS), _LIMITED_MAX_SECONDS)
        self._fill()
        self._limited_until = self._clock() + seconds
        # Either it is bad, or its user has used up their own limit: asking again helps neither.
        self._keep(token, None, min(seconds, FINAL_SECONDS))

    def take(self) -> None:
        """Count a question about a token that is not known as good.

        Raises:
            TooManyBadTokens: it may not be asked now.
        """
        self._fill()
        if self._left < 1:
            raise TooManyBadTokens(_TOO_MANY)
        self._left -= 1

    def give_back(self) -> None:
        """Uncount a question: the token is good, or there was no answer."""
        self._left = min(BURST, self._left + 1)

    def _fill(self) -> None:
        now = self._clock()
        slow = max(0.0, min(now, self._limited_until) - self._filled)
        fast = now - self._filled - slow
        self._left = min(BURST, self._left + slow * A_SECOND_LIMITED + fast * A_SECOND)
        self._filled = now

    def _keep(self, token: CoderToken, rejection: Rejection | None, seconds: float) -> None:
        self._refused[CoderToken(token.id, token.digest)] = rejection, seconds
