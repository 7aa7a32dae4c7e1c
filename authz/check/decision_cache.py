"""Caches how to decide on a request, for all requests that are the same in everything significant.

Two requests of a client differ in their ids and lengths, which decide nothing. The cache keeps an
allowed request under the bytes that it was read from: the route's ``context_extensions``, the
query, and every significant header. It never keeps the owner of the token or the central key:
each request asks for both.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from authz.check.ext_authz import Check, FinishedResponse, read_field
from authz.core.credentials import is_plain
from authz.core.decision_types import ChosenKey, Decision, Exhausted, Unreadable
from authz.core.identity import Identity, Rejection
from authz.core.providers import ErrorShape
from authz.core.tokens import CoderToken
from authz.keys.fallbacks import PoolWithFallbacks
from authz.keys.pool import KeyPool
from authz.secret import Secret

# Both caches drop everything at their limit. A check looks up each of its headers here, and the
# classes of cachetools would add half a microsecond to the 18 of a check.
_MAX_DECISIONS = 4096
_MAX_PLAIN = 4096
_MAX_FIELD_BYTES = 512
_MAX_KEY_BYTES = 2048
# Envoy generates this id for each request: a serialized HeaderValue with a UUID and no token.
_REQUEST_ID = re.compile(
    rb"\n\x0cx-request-id[\x12\x1a]\$[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)

Verification = Identity | Rejection
CentralKeyChoice = ChosenKey | Exhausted | None
StoredKey = Secret | Unreadable | None
Decide = Callable[[Verification, CentralKeyChoice, StoredKey], Decision]
CacheKey = tuple[tuple[bytes, ...], str, tuple[bytes, ...]]
"""A route's ``context_extensions``, a query, and the significant headers."""


@dataclass(slots=True)
class CachedDecision:
    """A request up to the look-up of its token, and the last decision on it.

    Attributes:
        provider: its name; None for a route without a provider.
        shape: the JSON format of errors.
        token: the token to look up.
        pool: the provider's central keys, if it has any.
        decide: a pure function of the two inputs that each request asks for, and of the key that
            the user has stored. The first input has that key encrypted, so it has changed if the
            key has.
        verification: the first input of the last decision.
        chosen: the second input of the last decision.
        decision: the last decision; None before the first one.
        response: the serialized ``Allow``; None for a ``Deny``.
        tells_end_from: the time, in seconds since the epoch, from which responses tell when the
            token ends; infinite where the end is unknown.
    """

    provider: str | None
    shape: ErrorShape
    token: CoderToken
    pool: KeyPool | PoolWithFallbacks | None
    decide: Decide
    verification: Verification | None = None
    chosen: CentralKeyChoice = None
    decision: Decision | None = None
    response: FinishedResponse | None = None
    tells_end_from: float = inf

    def decision_on(self, verification: Verification, chosen: CentralKeyChoice) -> Decision | None:
        """Return the last decision if it had the same inputs, else None."""
        if chosen is self.chosen and (
            verification is self.verification or verification == self.verification
        ):
            return self.decision
        return None


class DecisionCache:
    """A bounded cache of decisions.

    Args:
        further: names of credential headers, as ``credentials.read`` takes them.
    """

    def __init__(self, further: frozenset[str] = frozenset()) -> None:
        self._further = further
        self._plain: set[bytes] = set()
        self._decisions: dict[CacheKey, CachedDecision] = {}
        # The headers in the keys of the decisions, which need not be read again to see that they
        # matter. Only an allowed request adds some, so that a flood of others fills nothing.
        self._significant: set[bytes] = set()

    def key_of(self, check: Check) -> CacheKey:
        """Return the key of a request; requests with the same key share a decision.

        Raises:
            BadCheck: a header can't be read.
        """
        return check.context_extensions, check.query, self.significant_headers(check.fields)

    def significant_headers(self, fields: Iterable[bytes]) -> tuple[bytes, ...]:
        """Return, in order, the headers that can change the result of ``credentials.read``.

        Args:
            fields: of a ``Check``.

        Raises:
            BadCheck: a header can't be read.
        """
        plain, significant = self._plain, self._significant
        # Most headers are in one of the sets already.
        return tuple(
            [
                field
                for field in fields
                if field not in plain and (field in significant or self._matters(field))
            ]
        )

    def get(self, key: CacheKey) -> CachedDecision | None:
        """Return the cached decision for a key, or None."""
        return self._decisions.get(key)

    def put(self, key: CacheKey, cached: CachedDecision) -> None:
        """Cache an allowed request; refused ones are never cached, so a flood evicts nothing."""
        facts, query, fields = key
        if len(query) + sum(map(len, fields)) > _MAX_KEY_BYTES:
            return
        if sum(map(len, facts)) > _MAX_KEY_BYTES:
            return
        if len(self._decisions) >= _MAX_DECISIONS:
            self._decisions.clear()
            self._significant.clear()
        self._decisions[key] = cached
        self._significant.update(fields)

    def _matters(self, field: bytes) -> bool:
        if _REQUEST_ID.fullmatch(field):
            return False
        name, value = read_field(field)
        if not is_plain(name, value, self._further):
            return True
        if len(field) <= _MAX_FIELD_BYTES:
            if len(self._plain) >= _MAX_PLAIN:
                self._plain.clear()
            self._plain.add(field)
        return False
