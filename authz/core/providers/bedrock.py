"""Amazon Bedrock's Mantle endpoint: Anthropic's and OpenAI's formats, signed with SigV4.

Anthropic's format is below ``/anthropic`` there, which clients of the gateway leave out.
"""

from authz.core.header_names import AUTHORIZATION, X_API_KEY
from authz.core.providers.base import AllowedPath, ErrorShape, ProviderType, models
from authz.core.query import QueryNames

_ANTHROPIC = "/anthropic"

BEDROCK = ProviderType(
    name="bedrock",
    # SDKs of both come here.
    error_shape=ErrorShape.ANY,
    own_headers=(X_API_KEY, AUTHORIZATION),
    central_header=None,
    client_prefix="",
    paths=(
        AllowedPath(("POST",), "/v1/messages", inference=True, below=_ANTHROPIC),
        AllowedPath(("POST",), "/v1/messages/count_tokens", below=_ANTHROPIC),
        AllowedPath(("POST",), "/api/event_logging/.*", below=_ANTHROPIC),
        AllowedPath(("POST",), "(?:/openai)?/v1/(?:chat/completions|responses)", inference=True),
        models("(?:/openai)?/v1/models"),
    ),
    # A signature may be in the query as well.
    query=QueryNames(
        credentials=(
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Security-Token",
            "X-Amz-Signature",
        )
    ),
    signed=True,
    # What belongs to a signature is Envoy's to set, and nobody else's.
    removed_headers=("x-amz-date", "x-amz-content-sha256", "x-amz-security-token"),
)
