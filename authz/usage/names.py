"""Names that Envoy's configuration shares with the parsers of its logs."""

TOKEN_USAGE = "envoy.ai.token_usage"  # noqa: S105 - the name of typed metadata
"""The metadata in which Envoy's ``ai_protocol_manager`` stores the tokens."""

REQUEST_ID_KEY = "authz.request_id"
"""The filter state with the X-Request-Id, which the access log needs and providers don't get."""
PROXY_SESSION_KEY = "authz.proxy.session"
"""The filter state that a CONNECT shares with the requests in its tunnel.

No client can write it, because an internal listener has no socket."""

LOG_ENTRY = "authz.entry"
"""The attribute of a record of another gateway's access log that has the id of the request."""

REQUEST = "authz.request.2"
"""The first value of a record of a request; the number changes with the fields."""
REQUEST_BEFORE_GROUPS = "authz.request.1"
"""The first value of a record without the last field, from an Envoy that was rendered before."""
REQUEST_LINES = "authz.request.3"
"""The first line of a record of a request that is one text with ``RECORD_LINES``.

An Envoy that was rendered before sends lists of values, ``REQUEST_FIELDS``."""


def marked_request(mark: str, kind: str = REQUEST) -> str:
    """Return the first value of a record of our own Envoy, where other gateways send records, too.

    Args:
        mark: of the routes of our own Envoy, which no other gateway knows.
        kind: ``REQUEST_LINES``, or that of an earlier Envoy.
    """
    return f"{kind} {mark}"


REQUEST_FIELDS = (
    *("entry", "decision", "reason", "user", "user_id", "token_id", "token_name"),
    *("provider", "mode", "status", "duration_ms", "flags", "details", "request_id"),
    *("proxy_session", "content_encoding", "model", "input_tokens", "cached_tokens"),
    *("cache_write_tokens", "output_tokens", "reasoning_tokens", "usage"),
    "groups",
)
"""The values that follow, in this order."""
RECORD_LINES = (
    *("entry", "facts", "status", "duration_ms", "flags", "details", "request_id"),
    *("proxy_session", "content_encoding", "tokens"),
)
"""The lines that follow ``REQUEST_LINES``, in this order.

No value can hold a line end: authz and Envoy write none, and Envoy refuses a header that has one.
"""
TAG_LINES = ("project", "session")
"""The lines after those, where ``usage.tags`` is on."""
