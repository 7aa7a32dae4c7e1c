"""A recorded request, from either of Envoy's access logs."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from authz.printable import printable

_MAX_GROUPS = 200


class Usage(StrEnum):
    """The knowledge of a request's tokens. Only the first two have numbers."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    """The provider reported less than usual."""
    FAILED = "failed"
    """The response could not be parsed, or was too large."""
    COMPRESSED = "compressed"
    """The response was compressed, so Envoy did not read it."""
    CANCELLED = "cancelled"
    """The client left before the provider reported its tokens."""
    REFUSED = "refused"
    """The gateway refused the request."""
    ERROR = "error"
    """The response was an error."""
    UNREPORTED = "unreported"
    """The request went through an external gateway, whose access log has not told of its tokens."""
    NONE = "none"
    """The response has no tokens, such as a list of models, or is a WebSocket."""


_EXTRACTED = {1: Usage.COMPLETE, 2: Usage.PARTIAL, 3: Usage.FAILED}
"""``envoy.data.ai.v3.TokenUsage.ExtractionStatus`` of Envoy 1.40."""


class Tokens(NamedTuple):
    """The tokens that a provider counted, as Envoy's ``ai_protocol_manager`` normalizes them.

    Attributes:
        input: all input tokens, cached or not.
        cached: the input tokens that came from the provider's cache.
        cache_write: the input tokens that were written to the cache.
        output: all output tokens, including reasoning.
        reasoning: the output tokens of reasoning.
    """

    input: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None


NO_TOKENS = Tokens()


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a request, from the access log of an external gateway.

    Attributes:
        id: the id that authz gave the request.
        status: the HTTP status; 0 if the client left before there was one.
        duration_ms: the time until the last byte.
    """

    id: str
    status: int
    usage: Usage
    duration_ms: int
    model: str | None
    tokens: Tokens


# Not frozen: that would make the creation of each record several times slower.
@dataclass(slots=True)
class UsageEntry:
    """A request. Only the cost is set later.

    Attributes:
        id: ``<process>-<number>``, the id that authz gave the request.
        time_ms: the time at which it began, in milliseconds of Unix time.
        status: the HTTP status; 0 if the client left before there was one.
        duration_ms: the time until the last byte.
        groups: the names of the user's groups at the time of the request.
        cost: nano-dollars at the prices of that time; None where it is not known.
        project: the project that the client named, if tags are on.
        session: the client's id of its session, if tags are on.
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
    groups: tuple[str, ...] = ()
    cost: int | None = None
    project: str | None = None
    session: str | None = None

    @property
    def process(self) -> str:
        """The name of the authz process that answered the check."""
        return self.id.partition("-")[0]


def read_groups(text: str) -> tuple[str, ...]:
    """Return the groups that Envoy wrote as a JSON list; none for any other text."""
    if not text.startswith("["):
        return ()
    try:
        return clean_groups(json.loads(text))
    except (ValueError, RecursionError):
        return ()


def clean_groups(values: Any) -> tuple[str, ...]:
    """Return the texts of a list, cleaned; none for any other value."""
    if not isinstance(values, list):
        return ()
    names = (printable(value) for value in values[:_MAX_GROUPS] if isinstance(value, str))
    return tuple(dict.fromkeys(name for name in names if name))


def judge(
    *, decision: str, status: int, extracted: int | None, encoding: str, is_cancelled: bool
) -> Usage:
    """Return the knowledge of a request's tokens.

    Args:
        decision: authz's decision, ``allow`` or ``deny``.
        status: the HTTP status.
        extracted: Envoy's extraction status; None if it found nothing to extract.
        encoding: the response's ``Content-Encoding``, or empty.
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
