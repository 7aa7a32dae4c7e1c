"""Names that Envoy's configuration and the readers of its logs share."""

TOKEN_USAGE = "envoy.ai.token_usage"  # noqa: S105 - the name of typed metadata
"""Where Envoy's ``ai_protocol_manager`` puts what it has found."""
CONTENT_ENCODING = "content-encoding"

REQUEST_ID_KEY = "authz.request_id"
"""Filter state: the provider does not get the X-Request-Id header, the access log needs it."""
PROXY_SESSION_KEY = "authz.proxy.session"
"""Filter state that a CONNECT shares with what comes through its tunnel. No client can write it:
an internal listener has no socket."""
