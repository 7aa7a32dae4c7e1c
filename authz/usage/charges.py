"""The cost of a recorded request."""

from typing import Protocol

from authz.core.rules import Mode
from authz.usage.entry import NO_TOKENS, Tokens, Usage, UsageEntry

_COUNTED = (Usage.COMPLETE, Usage.PARTIAL)
_FREE = (Usage.REFUSED, Usage.ERROR)
_SWITCHED = 101


class Cost(Protocol):
    """Computes a cost from the book of prices."""

    def __call__(self, provider: str, model: str, counts: Tokens, at_ms: int) -> int | None:
        """Return nano-dollars, or None for a model without a price."""
        ...


def cost_of(entry: UsageEntry, cost: Cost) -> int | None:
    """Return the cost of a request in nano-dollars.

    It is None where the provider's count or the price is unknown.

    Args:
        cost: called with the tokens that the provider counted, and the time of the request.
    """
    if entry.usage in _FREE:
        return 0
    if entry.usage is Usage.NONE:
        # The messages of a WebSocket are not counted, and cost something.
        return None if entry.status == _SWITCHED else 0
    if (
        entry.usage not in _COUNTED
        or entry.provider is None
        or entry.model is None
        or entry.tokens == NO_TOKENS
    ):
        return None
    return cost(entry.provider, entry.model, entry.tokens, entry.time_ms)


def priced(entry: UsageEntry, cost: Cost) -> UsageEntry:
    """Set the cost of a request, and return the request; arguments as ``cost_of``."""
    entry.cost = cost_of(entry, cost)
    return entry


def is_unpriced(entry: UsageEntry) -> bool:
    """Return whether a request has no cost, although its tokens are known."""
    has_tokens = entry.tokens.input is not None or entry.tokens.output is not None
    return entry.cost is None and entry.usage in _COUNTED and has_tokens


def charge_of(entry: UsageEntry) -> tuple[str, int | None] | None:
    """Return the id of a priced request and its cost in nano-dollars.

    Where the cost is unknown, the budget counts what was reserved. A request with the user's own
    key has no reservation, and returns None.
    """
    if entry.provider is None or entry.mode != Mode.CENTRALIZED:
        return None
    return entry.id, entry.cost
