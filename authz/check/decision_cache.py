"""What requests say for themselves, read once for all those that say the same.

Two requests of a client differ in their ids and lengths, not in what is decided on. So the reading
of a request that was allowed is kept, under the bytes it was made from: the route's facts, the
query, and every header that can matter. Whose token it is *now*, and which key serves *now*, are
no part of it; they are asked for each request.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from authz.check.ext_authz import Check, FinishedAnswer, read_field
from authz.core.credentials import is_plain
from authz.core.decision import Allow, Deny
from authz.core.identity import Identity, Rejection
from authz.core.outcome import ChosenKey, Exhausted
from authz.core.providers import ErrorShape
from authz.core.tokens import CoderToken
from authz.keys.pool import KeyPool

_MAX_READINGS = 4096
_MAX_PLAIN = 4096
_MAX_FIELD_BYTES = 512
_MAX_KEY_BYTES = 2048
# Envoy's own, new with each request: a serialized HeaderValue with a UUID, which holds no token.
_REQUEST_ID = re.compile(rb"\n\x0cx-request-id\x1a\$[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Verification = Identity | Rejection
Chosen = ChosenKey | Exhausted | None
Decide = Callable[[Verification, Chosen], Allow | Deny]
Key = tuple[tuple[bytes, ...], str, tuple[bytes, ...]]
"""The facts of a route, a query, and the headers that can matter."""


@dataclass(slots=True)
class CachedDecision:
    """A request whose token is to be looked up, and the last decision on one like it.

    Attributes:
        provider: its name; None where the route leads to none.
        shape: of errors.
        token: what to look up.
        pool: the central keys of the provider, if it has any.
        decide: a pure function of the two facts that are asked for each request.
        verification: the first of them, at the last decision.
        chosen: the second.
        outcome: the last decision; None before the first one.
        answer: an ``Allow`` written out; None for any other outcome.
    """

    provider: str | None
    shape: ErrorShape
    token: CoderToken
    pool: KeyPool | None
    decide: Decide
    verification: Verification | None = None
    chosen: Chosen = None
    outcome: Allow | Deny | None = None
    answer: FinishedAnswer | None = None

    def decided(self, verification: Verification, chosen: Chosen) -> Allow | Deny | None:
        """Return the last decision where it was made on the same facts, else None."""
        if chosen is self.chosen and (
            verification is self.verification or verification == self.verification
        ):
            return self.outcome
        return None


class DecisionCache:
    """Keeps decision_cache, a bounded number of them.

    Args:
        further: names of credential headers, as ``headers.read`` takes them.
    """

    def __init__(self, further: frozenset[str] = frozenset()) -> None:
        self._further = further
        self._plain: set[bytes] = set()
        self._readings: dict[Key, CachedDecision] = {}

    def key_of(self, check: Check) -> Key:
        """Return what two requests have to have in common to be read as one.

        Raises:
            BadCheck: a header can't be read.
        """
        return check.facts, check.query, self.significant_headers(check.fields)

    def significant_headers(self, fields: Iterable[bytes]) -> tuple[bytes, ...]:
        """Return, in order, the headers without which ``headers.read`` could say something else.

        Args:
            fields: as ``Check`` has them.

        Raises:
            BadCheck: one can't be read.
        """
        plain = self._plain
        # Most headers are known already, and known to tell nothing.
        return tuple([field for field in fields if field not in plain and self._tells(field)])

    def get(self, key: Key) -> CachedDecision | None:
        """Return what is kept under a key."""
        return self._readings.get(key)

    def keep(self, key: Key, reading: CachedDecision) -> None:
        """Keep the reading of a request that was allowed: no flood of others moves it out."""
        _, query, fields = key
        if len(query) + sum(map(len, fields)) > _MAX_KEY_BYTES:
            return
        if len(self._readings) >= _MAX_READINGS:
            self._readings.clear()
        self._readings[key] = reading

    def _tells(self, field: bytes) -> bool:
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
