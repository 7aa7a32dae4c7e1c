"""Amazon Bedrock's Mantle endpoint: Anthropic's and OpenAI's formats, signed with SigV4.

Bedrock serves Anthropic's format below ``/anthropic``, which clients of the gateway leave out.
"""

from authz.core.header_names import AUTHORIZATION, X_API_KEY
from authz.core.providers.base import AllowedPath, ErrorShape, ModelPlace, ProviderType, models
from authz.core.query import QueryNames

_ANTHROPIC = "/anthropic"

BEDROCK = ProviderType(
    name="bedrock",
    # The SDKs of both formats use this provider.
    error_shape=ErrorShape.ANY,
    own_headers=(X_API_KEY, AUTHORIZATION),
    central_header=None,
    client_prefix="",
    paths=(
        AllowedPath(
            ("POST",), "/v1/messages", inference=True, below=_ANTHROPIC, model=ModelPlace.BODY
        ),
        AllowedPath(
            ("POST",), "/v1/messages/count_tokens", below=_ANTHROPIC, model=ModelPlace.BODY
        ),
        AllowedPath(("POST",), "/api/event_logging/.*", below=_ANTHROPIC, model=ModelPlace.NONE),
        AllowedPath(
            ("POST",),
            "(?:/openai)?/v1/(?:chat/completions|responses)",
            inference=True,
            model=ModelPlace.BODY,
        ),
        models("(?:/openai)?/v1/models"),
    ),
    # AWS also accepts a signature in the query.
    query=QueryNames(
        credentials=(
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Security-Token",
            "X-Amz-Signature",
        )
    ),
    signed=True,
    # These headers belong to the signature, and only Envoy may set them.
    removed_headers=("x-amz-date", "x-amz-content-sha256", "x-amz-security-token"),
)
