"""GitHub Copilot; individual, business and enterprise differ only in the host."""

from authz.core.header_names import AUTHORIZATION
from authz.core.providers.base import ANY, AllowedPath, ErrorShape, ModelPlace, ProviderType

COPILOT = ProviderType(
    name="copilot",
    error_shape=ErrorShape.OPENAI,
    own_headers=(AUTHORIZATION,),
    central_header=None,
    client_prefix="",
    paths=(
        # Copilot's clients request these paths before they have a credential.
        AllowedPath(ANY, "/(?:_ping|auto)", keyless=True),
        AllowedPath(
            ("POST",),
            "/(?:chat/completions|responses|embeddings|v1/messages)",
            inference=True,
            model=ModelPlace.BODY,
        ),
        # Every path is safe: there is no central key, and the user's own GitHub token decides.
        AllowedPath(ANY, "/.*"),
    ),
)
