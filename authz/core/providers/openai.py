"""OpenAI's own API, and others in its format whose base URL ends in a version."""

from authz.core.header_names import AUTHORIZATION, GATEWAY_KEYS, X_GOOG_API_KEY
from authz.core.providers.base import AllowedPath, ErrorShape, ModelPlace, ProviderType, models
from authz.core.query import NO_NAMES, QueryNames

STORED = ("GET", "HEAD", "POST", "DELETE")
"""Methods for stored responses and conversations."""

INFERENCE = (
    "chat/completions|completions|responses|embeddings|moderations"
    "|images/(?:generations|edits|variations)|audio/(?:speech|transcriptions|translations)"
)
"""Paths that only call a model, without files, batches, tuning and organizations."""

_PATHS = (
    AllowedPath(STORED, "/v1/responses/.*", model=ModelPlace.OPTIONAL),
    AllowedPath(STORED, "/v1/conversations(?:/.*)?", model=ModelPlace.OPTIONAL),
    models("/v1/models"),
)


def _openai_format(
    name: str,
    websocket_paths: tuple[str, ...] = (),
    own_headers: tuple[str, ...] = (),
    query: QueryNames = NO_NAMES,
    *,
    reranks: bool = False,
    may_be_open: bool = False,
) -> ProviderType:
    inference = f"{INFERENCE}|rerank" if reranks else INFERENCE
    return ProviderType(
        name=name,
        error_shape=ErrorShape.OPENAI,
        own_headers=(AUTHORIZATION, *own_headers),
        central_header=AUTHORIZATION,
        client_prefix="/v1",
        paths=(
            AllowedPath(("POST",), f"/v1/(?:{inference})", inference=True, model=ModelPlace.BODY),
            *_PATHS,
        ),
        websocket_paths=websocket_paths,
        query=query,
        may_be_open=may_be_open,
    )


GOOGLE_QUERY = QueryNames(
    credentials=("key", "access_token", "oauth_token", "bearer_token"),
    accounts=("userProject", "$userProject", "quotaUser", "$quotaUser"),
    overrides=("$httpHeaders", "$httpMethod"),
)
"""System parameters of every Google API (``cloud.google.com/apis/docs/system-parameters``)."""

_COMPAT_QUERY = QueryNames(credentials=("api_key", "apikey", "access_token", "subscription-key"))

OPENAI_FORMAT = (
    _openai_format("openai", websocket_paths=("/v1/responses", "/v1/realtime")),
    _openai_format("google", own_headers=(X_GOOG_API_KEY,), query=GOOGLE_QUERY),
    _openai_format("openrouter", reranks=True),
    _openai_format("vercel", reranks=True),
    # The provider may be another gateway, which reads its own headers first.
    _openai_format(
        "openai-compat",
        own_headers=GATEWAY_KEYS,
        query=_COMPAT_QUERY,
        reranks=True,
        may_be_open=True,
    ),
)
