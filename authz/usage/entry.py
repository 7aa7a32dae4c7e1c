"""One request as the access log tells it, from whichever of Envoy's logs it came."""

from dataclasses import dataclass
from enum import StrEnum


class Usage(StrEnum):
    """What is known of a request's tokens. Only with the first two there are numbers."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    """The provider said less than it does usually."""
    FAILED = "failed"
    """The answer was not understood, or too large to be read."""
    COMPRESSED = "compressed"
    """The answer had a content coding, which Envoy does not look into."""
    CANCELLED = "cancelled"
    """The client left before the provider had said it."""
    REFUSED = "refused"
    """The gateway refused the request."""
    ERROR = "error"
    """The answer was an error."""
    NONE = "none"
    """An answer that has none, such as a list of models, or a WebSocket."""


_EXTRACTED = {1: Usage.COMPLETE, 2: Usage.PARTIAL, 3: Usage.FAILED}
"""``envoy.data.ai.v3.TokenUsage.ExtractionStatus`` of Envoy 1.40."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the provider counted, as Envoy's ``ai_protocol_manager`` normalizes it.

    Attributes:
        input: everything that was read, cached or not.
        cached: of the input, what came from the provider's cache.
        cache_write: of the input, what was put into it.
        output: everything that was written, reasoning included.
        reasoning: of the output.
    """

    input: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None


NO_TOKENS = Tokens()


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """A request.

    Attributes:
        id: ``<process>-<number>``, as authz has given it to the request.
        time_ms: when it began, in milliseconds of Unix time.
        status: HTTP status; 0 where the client left before there was one.
        duration_ms: until the last byte.
    """

    id: str
    time_ms: int
    decision: str
    status: int
    usage: Usage
    duration_ms: int
    request_id: str | None = None
    user_id: str | None = None
    username: str | None = None
    token_id: str | None = None
    token_name: str | None = None
    provider: str | None = None
    mode: str | None = None
    reason: str | None = None
    model: str | None = None
    proxy_session: str | None = None
    tokens: Tokens = NO_TOKENS

    @property
    def process(self) -> str:
        """The authz process that has answered the check."""
        return self.id.partition("-")[0]


def judge(
    *, decision: str, status: int, extracted: int | None, encoding: str, is_cancelled: bool
) -> Usage:
    """Say what is known of a request's tokens.

    Args:
        decision: of authz, ``allow`` or ``deny``.
        status: HTTP status.
        extracted: Envoy's extraction status; None where it found nothing to extract.
        encoding: the answer's ``Content-Encoding``, or empty.
        is_cancelled: whether the client left before the end.
    """
    if decision != "allow":
        return Usage.REFUSED
    found = _EXTRACTED.get(extracted or 0)
    if found is not None and found is not Usage.FAILED:
        return found
    if is_cancelled:
        return Usage.CANCELLED
    if encoding not in ("", "identity"):
        return Usage.COMPRESSED
    if status >= 400:
        return Usage.ERROR
    return found or Usage.NONE
