"""GitHub Copilot: individual, business and enterprise differ in the host alone."""

from authz.core.credentials import AUTHORIZATION
from authz.core.providers.base import ANY, AllowedPath, ErrorShape, ProviderType

COPILOT = ProviderType(
    name="copilot",
    error_shape=ErrorShape.OPENAI,
    own_headers=(AUTHORIZATION,),
    central_header=None,
    client_prefix="",
    paths=(
        # Copilot's clients ask these before they have a credential (``coder-contract.md`` 4.5).
        AllowedPath(ANY, "/(?:_ping|auto)", keyless=True),
        AllowedPath(
            ("POST",), "/(?:chat/completions|responses|embeddings|v1/messages)", inference=True
        ),
        # Everything: no central key can be misused, the user's own GitHub token decides.
        AllowedPath(ANY, "/.*"),
    ),
)
