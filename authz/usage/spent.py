"""The tokens of a recorded request that limits count."""

from authz.usage.entry import UsageEntry


def counted_tokens(entry: UsageEntry) -> int:
    """Return the input tokens that came from no cache, and the output tokens; 0 if unknown."""
    tokens = entry.tokens
    fresh = (tokens.input or 0) - (tokens.cached or 0)
    return max(fresh, 0) + (tokens.output or 0)
