"""The one list of headers that carry a credential, choose an account, or belong to the gateway.

The code that reads headers, checks them for duplicates and odd bytes, caches decisions, and removes
headers uses this list, so that no place can forget a header that another place reads.
"""

GOVERNANCE = "x-coder-ai-governance-token"
AUTHORIZATION = "authorization"
X_API_KEY = "x-api-key"
API_KEY = "api-key"
"""The header of Azure OpenAI."""
OCP_APIM_SUBSCRIPTION_KEY = "ocp-apim-subscription-key"
"""The header of Azure API Management and of Azure's older AI services."""
X_GOOG_API_KEY = "x-goog-api-key"
"""The header of Gemini."""
PROXY_AUTHORIZATION = "proxy-authorization"
SUBPROTOCOL = "sec-websocket-protocol"
PEER_HEADER = "x-authz-peer"
"""Tells authz's HTTP side who is connected; Envoy overwrites a client's value."""
ROUTE_HEADER = "authz-route"
"""Tells authz the route of a gRPC stream about a request in progress; clients can't send it."""

GATEWAY_KEYS = (
    "x-litellm-api-key",
    "x-portkey-api-key",
    "cf-aig-authorization",
    "helicone-auth",
    "apikey",
    "x-bf-vk",
)
"""Headers from which gateways with OpenAI's API read a key: LiteLLM, Portkey, Cloudflare, Helicone,
Kong and Bifrost."""

CREDENTIAL_HEADERS = (
    GOVERNANCE,
    AUTHORIZATION,
    X_API_KEY,
    API_KEY,
    X_GOOG_API_KEY,
    "x-auth-token",
    "x-amz-security-token",
    "coder-session-token",
    PROXY_AUTHORIZATION,
    OCP_APIM_SUBSCRIPTION_KEY,
    *GATEWAY_KEYS,
    "x-goog-iam-authorization-token",
    "x-goog-iam-authority-selector",
    "x-access-token",
    "x-auth-key",
    "x-functions-key",
    "x-serverless-authorization",
    "x-vercel-oidc-token",
    "cf-access-client-id",
    "cf-access-client-secret",
    "cf-access-token",
)
"""Every header that may carry a credential. authz removes all but the chosen one."""

ACCOUNT_HEADERS = (
    "openai-organization",
    "openai-project",
    "chatgpt-account-id",
    "anthropic-workspace-id",
    "anthropic-organization-id",
    "x-organization-uuid",
    "x-goog-user-project",
    "x-goog-quota-user",
    "x-portkey-virtual-key",
    "x-portkey-config",
    "x-portkey-provider",
    "x-portkey-custom-host",
    "helicone-target-url",
    "helicone-target-provider",
    "helicone-openai-api-base",
    "cf-aig-byok-alias",
    "x-hf-bill-to",
)
"""Headers that choose the account that pays, or the host to which another gateway sends the key.

authz removes them from centralized requests. The provider answers a wrong account with a 401, which
looks like a bad key, and the client may not choose a right one.
"""

METHOD_OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")
"""Routes depend on the method, so the provider must see the same one."""

REMOVED_HEADERS = (
    "cookie",
    "forwarded",
    "via",
    "x-request-id",
    *METHOD_OVERRIDES,
    "x-host",
    "x-http-host-override",
    "x-rewrite-url",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-remote-ip",
    "x-remote-addr",
    "x-originating-ip",
    "x-proxyuser-ip",
    "client-ip",
    "true-client-ip",
    "fastly-client-ip",
    "cf-pseudo-ipv4",
    "x-appengine-user-ip",
)
REMOVED_PREFIXES = (
    "coder-",
    "x-coder-",
    "x-ai-bridge-actor",
    "x-forwarded",
    "x-original-",
    "x-envoy-",
    "x-azure-client",
    "x-azure-socket",
    "cf-connecting-",
    "proxy-",
)
"""Headers of Coder and of the gateway, and headers about a request's origin or first destination.

Envoy removes them from every request to a provider. The credential headers are not in this list,
since authz decides which of them to keep.
"""

TRACEPARENT = "traceparent"
TRACE_HEADERS = (TRACEPARENT, "tracestate", "baggage", "x-client-trace-id", "x-envoy-force-trace")
"""The headers in which a client sends a trace of its own; removed where authz traces."""

ACTOR_ID = "x-ai-bridge-actor-id"
ACTOR_NAME = "x-ai-bridge-actor-metadata-username"
"""Headers that tell the provider whose request it is (``send_actor_headers``), named as in Coder's
gateway."""

PROJECT = "x-coder-ai-gateway-project"
"""The client's name of its project (``usage.tags``); removed as every header of the gateway."""
SESSION_HEADERS = ("x-claude-code-session-id", "session-id")
"""The ids that Claude Code and Codex give their sessions; removed where ``usage.tags`` is on."""

_MESSAGE_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "expect",
        "host",
        "keep-alive",
        SUBPROTOCOL,
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def is_reserved(name: str) -> bool:
    """Return whether ``gateway.yaml`` must not name this header, since its meaning is fixed."""
    return (
        name in CREDENTIAL_HEADERS
        or name in REMOVED_HEADERS
        or name in _MESSAGE_HEADERS
        or name in SESSION_HEADERS
        or name.startswith(("content-", "x-authz-", *REMOVED_PREFIXES))
    )


def is_removed(name: str) -> bool:
    """Return whether a provider must not get this header, whatever authz decides.

    Some servers take an underscore for a hyphen, so a header with an underscore may look like a
    credential.
    """
    return name in REMOVED_HEADERS or name.startswith(REMOVED_PREFIXES) or "_" in name
