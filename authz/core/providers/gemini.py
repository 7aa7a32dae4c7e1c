"""Google's native Gemini API."""

from authz.core.header_names import AUTHORIZATION, X_GOOG_API_KEY
from authz.core.providers.base import READ, AllowedPath, ErrorShape, ModelPlace, ProviderType
from authz.core.providers.openai import GOOGLE_QUERY

# No percent sign: an escaped colon could add another verb.
_MODEL = "/v1(?:beta)?/models/[^/:%]+"
_IN_PATH = "/models/([^/:?]+):"

GEMINI = ProviderType(
    name="gemini",
    error_shape=ErrorShape.GOOGLE,
    # A Bearer is a token of Google's OAuth.
    own_headers=(X_GOOG_API_KEY, AUTHORIZATION),
    central_header=X_GOOG_API_KEY,
    client_prefix="",
    paths=(
        AllowedPath(
            ("POST",),
            f"{_MODEL}:(?:generateContent|streamGenerateContent|embedContent|batchEmbedContents"
            "|predict)",
            inference=True,
            model=ModelPlace.PATH,
            model_in_path=_IN_PATH,
        ),
        AllowedPath(
            ("POST",),
            f"{_MODEL}:countTokens",
            model=ModelPlace.PATH,
            model_in_path=_IN_PATH,
        ),
        # No colon, only escaped slashes, and no "..".
        AllowedPath(
            READ, r"/v1(?:beta)?/models(?:/(?:\.?(?:[^/:.%]|%2[fF]))+\.?)?", escaped_slash=True
        ),
    ),
    # An access token of Google's OAuth.
    bearer_prefixes=("ya29.",),
    token_header=X_GOOG_API_KEY,
    query=GOOGLE_QUERY,
)
