"""OpenAI's own API, and those that speak its format under a base URL that ends in a version."""

from authz.headers import AUTHORIZATION
from authz.providers.base import AllowedPath, ErrorShape, ProviderType, models

STORED = ("GET", "HEAD", "POST", "DELETE")
"""Methods for what the API stores: responses and conversations."""

INFERENCE = (
    "chat/completions|completions|responses|embeddings|moderations"
    "|images/(?:generations|edits|variations)|audio/(?:speech|transcriptions|translations)"
)
"""Where a model answers, and nothing else happens: no files, batches, tuning, organization."""

_PATHS = (
    AllowedPath(STORED, "/v1/responses/.*"),
    AllowedPath(STORED, "/v1/conversations(?:/.*)?"),
    models("/v1/models"),
)


def _openai_format(
    name: str,
    websocket_paths: tuple[str, ...] = (),
    query_credentials: tuple[str, ...] = (),
    *,
    reranks: bool = False,
    may_be_open: bool = False,
) -> ProviderType:
    inference = f"{INFERENCE}|rerank" if reranks else INFERENCE
    return ProviderType(
        name=name,
        error_shape=ErrorShape.OPENAI,
        own_headers=(AUTHORIZATION,),
        central_header=AUTHORIZATION,
        client_prefix="/v1",
        paths=(AllowedPath(("POST",), f"/v1/(?:{inference})", inference=True), *_PATHS),
        websocket_paths=websocket_paths,
        query_credentials=query_credentials,
        may_be_open=may_be_open,
    )


GOOGLE_QUERY_CREDENTIALS = ("key", "access_token", "oauth_token", "bearer_token")
"""System parameters of every Google API (``cloud.google.com/apis/docs/system-parameters``)."""

OPENAI_FORMAT = (
    _openai_format("openai", websocket_paths=("/v1/responses", "/v1/realtime")),
    _openai_format("google", query_credentials=GOOGLE_QUERY_CREDENTIALS),
    _openai_format("openrouter", reranks=True),
    _openai_format("vercel", reranks=True),
    _openai_format("openai-compat", reranks=True, may_be_open=True),
)
