"""A limit on the calls that invalid tokens cause at Coder's API.

Coder limits calls with a valid token by user, and calls with an invalid one by address, which is
authz's for all of them. A flood of invented tokens would use that limit up. Coder would then answer
429 instead of 401 for every token that was deleted or expired.
"""

import time
from collections.abc import Callable

from cachetools import TLRUCache

from authz.core.identity import Rejection
from authz.core.tokens import CoderToken
from authz.errors import IdentityUnavailable

FINAL_SECONDS = 10.0
"""The time for which the refusal of a token that can't become valid again is cached."""
PASSING_SECONDS = 1.0
"""The time for which other refusals are cached, as a suspended user may be activated."""
FINAL = frozenset({Rejection.UNKNOWN, Rejection.WRONG_SECRET, Rejection.EXPIRED})
"""The refusals that are final if Coder itself states them.

- Unknown: Coder creates the id and the secret of a token at random, so a token that is presented
  before it exists was guessed. A deleted token is never created again.
- Wrong secret: the hash of an existing id does not change.
- Expired: Coder extends only tokens that have not expired yet.

Other refusals may end: a user can be activated or sign in at the login provider again, and the
audience depends on Coder's configuration.
"""
BURST, A_SECOND, A_SECOND_LIMITED = 60, 6.0, 1.0
"""The calls for unknown tokens: at once, in each further second, and in each second after a 429.

In a minute this is less than the 512 that Coder allows, so one process leaves room for tokens that
were just deleted. After a 429 it is slower, so that several processes leave room too."""
_LIMITED_MAX_SECONDS = 60.0
_MAX_TOKENS = 10_000
_TOO_MANY = "many bad tokens arrive: unknown tokens have to wait, to stay within Coder's rate limit"


_Refusal = tuple[Rejection | None, float]
"""The reason, or None if Coder answered 429, and the seconds for which it is cached."""


class TooManyBadTokens(IdentityUnavailable):
    """Invalid tokens have used up their calls to Coder."""


class BadTokens:
    """Caches refusals for a short time, and limits calls for tokens that were not valid before.

    Tokens are compared by id and the digest of their secret. A caller who knows only the id of a
    valid token, which is not secret, therefore can't get it refused.

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
        """Return the cached refusal of a token, or None.

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
        """Cache a refusal.

        Args:
            token: the token that was refused.
            rejection: the reason.
            is_final: whether Coder itself stated the reason.
        """
        seconds = FINAL_SECONDS if is_final and rejection in FINAL else PASSING_SECONDS
        self._keep(token, rejection, seconds)

    def limited(self, token: CoderToken, retry_after: float) -> None:
        """Slow down, because Coder answered 429 for a token that was not valid before.

        Further tokens are still looked up, slowly: Coder accepts a valid token even now.
        """
        seconds = min(max(retry_after, PASSING_SECONDS), _LIMITED_MAX_SECONDS)
        self._fill()
        self._limited_until = self._clock() + seconds
        # The token is invalid, or its user has used up their limit. Another call helps neither.
        self._keep(token, None, min(seconds, FINAL_SECONDS))

    def take(self) -> None:
        """Count a call for a token that was not valid before.

        Raises:
            TooManyBadTokens: the call is not allowed now.
        """
        self._fill()
        if self._left < 1:
            raise TooManyBadTokens(_TOO_MANY)
        self._left -= 1

    def give_back(self) -> None:
        """Uncount a call, because the token is valid or Coder did not answer."""
        self._left = min(BURST, self._left + 1)

    def _fill(self) -> None:
        now = self._clock()
        slow = max(0.0, min(now, self._limited_until) - self._filled)
        fast = now - self._filled - slow
        self._left = min(BURST, self._left + slow * A_SECOND_LIMITED + fast * A_SECOND)
        self._filled = now

    def _keep(self, token: CoderToken, rejection: Rejection | None, seconds: float) -> None:
        self._refused[CoderToken(token.id, token.digest)] = rejection, seconds
