"""Names that Envoy's configuration and the readers of its logs share."""

TOKEN_USAGE = "envoy.ai.token_usage"  # noqa: S105 - the name of typed metadata
"""Where Envoy's ``ai_protocol_manager`` puts what it has found."""

REQUEST_ID_KEY = "authz.request_id"
"""Filter state: the provider does not get the X-Request-Id header, the access log needs it."""
PROXY_SESSION_KEY = "authz.proxy.session"
"""Filter state that a CONNECT shares with what comes through its tunnel. No client can write it:
an internal listener has no socket."""

REQUEST = "authz.request.1"
"""Begins a record of a request; another number means other fields."""
REQUEST_FIELDS = (
    *("entry", "decision", "reason", "user", "user_id", "token_id", "token_name"),
    *("provider", "mode", "status", "duration_ms", "flags", "details", "request_id"),
    *("proxy_session", "content_encoding", "model", "input_tokens", "cached_tokens"),
    *("cache_write_tokens", "output_tokens", "reasoning_tokens", "usage"),
)
"""What follows, in this order."""
