"""The rates of a model, and the cost of counted tokens; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from authz.usage.entry import Tokens

MILLION = 1_000_000
_NANO = 1_000_000_000
MAX_COST = 10_000 * _NANO
"""No request costs as much. Sums over many requests stay within SQLite's integers."""


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of requests with more than a number of input tokens.

    All rates are in nano-dollars for a million tokens.

    Attributes:
        above: the tier applies to requests with more input tokens; -1 for the first tier.
        cached: for input tokens from the provider's cache.
        cache_write: for input tokens that the provider writes to its cache.
        long_cache_write: the same where the cache keeps them for an hour.
        reasoning: for output tokens of reasoning.
    """

    above: int
    input: int
    cached: int
    cache_write: int
    long_cache_write: int
    output: int
    reasoning: int

    def cost(self, tokens: Tokens) -> int:
        """Return the cost of tokens in nano-dollars times a million."""
        # Comparisons are faster than min(), and this runs for each request.
        total = tokens.input or 0
        cached = tokens.cached or 0
        if cached > total:
            cached = total
        written = tokens.cache_write or 0
        if written > total - cached:
            written = total - cached
        output = tokens.output or 0
        reasoning = tokens.reasoning or 0
        if reasoning > output:
            reasoning = output
        return (
            (total - cached - written) * self.input
            + cached * self.cached
            + written * self.cache_write
            + (output - reasoning) * self.output
            + reasoning * self.reasoning
        )

    def at_most(self, input_tokens: int, output_tokens: int) -> int:
        """Return the highest cost of so many tokens, in nano-dollars times a million."""
        dearest = max(self.input, self.cached, self.cache_write, self.long_cache_write)
        return input_tokens * dearest + output_tokens * max(self.output, self.reasoning)


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of a model.

    Attributes:
        tiers: by their number of input tokens; the highest one that applies is for all tokens.
        request: nano-dollars for each request, beside its tokens.
    """

    tiers: Sequence[Tier]
    request: int = 0

    def cost(self, tokens: Tokens) -> int | None:
        """Return the cost of a request in nano-dollars; None if it can't be known."""
        if tokens.input is None and tokens.output is None:
            return None
        total = tokens.input or 0
        tier = self.tiers[0]
        for one in self.tiers:
            if total <= one.above:
                break
            tier = one
        cost = self.request + _rounded_up(tier.cost(tokens))
        return cost if cost <= MAX_COST else None

    def at_most(self, input_tokens: int, output_tokens: int) -> int:
        """Return the highest cost of a request with at most so many tokens, in nano-dollars."""
        first = self.tiers[0]
        possible = [one for one in self.tiers if one is first or input_tokens > one.above]
        return self.request + _rounded_up(
            max(one.at_most(input_tokens, output_tokens) for one in possible)
        )


def _rounded_up(millionths: int) -> int:
    return -(-millionths // MILLION)
