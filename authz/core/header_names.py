"""The one list of headers that carry a credential, choose an account, or belong to the gateway.

It serves reading, the check for duplicates and odd bytes, the keys of kept decisions, and removal,
so that no header can be read in one place and forgotten in another.
"""

GOVERNANCE = "x-coder-ai-governance-token"
AUTHORIZATION = "authorization"
X_API_KEY = "x-api-key"
API_KEY = "api-key"
"""Azure's."""
OCP_APIM_SUBSCRIPTION_KEY = "ocp-apim-subscription-key"
"""Of Azure's API Management, and of its older AI services."""
X_GOOG_API_KEY = "x-goog-api-key"
"""Gemini's."""

GATEWAY_KEYS = (
    "x-litellm-api-key",
    "x-portkey-api-key",
    "cf-aig-authorization",
    "helicone-auth",
    "apikey",
    "x-bf-vk",
)
"""Where gateways with OpenAI's API read a key: LiteLLM, Portkey, Cloudflare, Helicone, Kong and
Bifrost."""

CREDENTIAL_HEADERS = (
    GOVERNANCE,
    AUTHORIZATION,
    X_API_KEY,
    API_KEY,
    X_GOOG_API_KEY,
    "x-auth-token",
    "x-amz-security-token",
    "coder-session-token",
    "proxy-authorization",
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
"""Every header that somebody reads a credential from. All but the chosen one are removed."""

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
"""They choose which account pays, or where another gateway sends the key.

They are removed from centralized requests: the provider answers a wrong one with a 401, which says
nothing about the key, and a right one is not the client's to choose.
"""

METHOD_OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")
"""Routes decide by method, so the provider must see the same one."""

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
"""Nothing that belongs to Coder or to the gateway reaches a provider, and nothing that says where a
request came from or was going before.

The credential headers are not here: which of them stays is authz's decision.
"""

_OF_A_MESSAGE = frozenset(
    {
        "accept-encoding",
        "connection",
        "expect",
        "host",
        "keep-alive",
        "sec-websocket-protocol",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def is_reserved(name: str) -> bool:
    """Say whether ``gateway.yaml`` may not name this header: its meaning is fixed already."""
    return (
        name in CREDENTIAL_HEADERS
        or name in REMOVED_HEADERS
        or name in _OF_A_MESSAGE
        or name.startswith(("content-", "x-authz-", *REMOVED_PREFIXES))
    )
