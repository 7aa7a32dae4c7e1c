"""Azure OpenAI: OpenAI's format below ``/openai``, with and without deployments in the path."""

from authz.core.header_names import API_KEY, AUTHORIZATION, OCP_APIM_SUBSCRIPTION_KEY
from authz.core.providers.base import AllowedPath, ErrorShape, ModelPlace, ProviderType, models
from authz.core.providers.openai import STORED
from authz.core.query import QueryNames

_MODEL_PATHS = (
    "chat/completions|completions|embeddings|images/(?:generations|edits)"
    "|audio/(?:speech|transcriptions|translations)"
)

AZURE = ProviderType(
    name="azure",
    error_shape=ErrorShape.OPENAI,
    # A Bearer is a token of Entra ID, or the key if a client of OpenAI's own API sends it.
    own_headers=(API_KEY, AUTHORIZATION, OCP_APIM_SUBSCRIPTION_KEY),
    central_header=API_KEY,
    client_prefix="",
    paths=(
        # A deployment stands for its model, whatever the body names.
        AllowedPath(
            ("POST",),
            f"/openai/deployments/[^/%]+/(?:{_MODEL_PATHS})",
            inference=True,
            model=ModelPlace.PATH,
            model_in_path="/openai/deployments/([^/?]+)/",
        ),
        AllowedPath(("POST",), "/openai/(?:v1/)?responses", inference=True, model=ModelPlace.BODY),
        AllowedPath(
            ("POST",), f"/openai/v1/(?:{_MODEL_PATHS})", inference=True, model=ModelPlace.BODY
        ),
        AllowedPath(STORED, "/openai/(?:v1/)?responses/.*", model=ModelPlace.OPTIONAL),
        AllowedPath(STORED, "/openai/v1/conversations(?:/.*)?", model=ModelPlace.OPTIONAL),
        models("/openai/(?:v1/)?models"),
    ),
    # A token of Entra ID is a JWT, whose first field is its type.
    bearer_prefixes=("eyJ0eXAiOiJKV1Qi",),
    token_header=API_KEY,
    query=QueryNames(credentials=("api-key", "subscription-key", "ocp-apim-subscription-key")),
)
