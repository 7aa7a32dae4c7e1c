"""Provider types as data: credential headers, allowed paths, error shape; one file each.

The paths are an allow-list: a central key may have administrative rights, so Envoy routes no other
path. ``docs/coder.md`` compares them with Coder's.
"""

from authz.core.providers.anthropic import ANTHROPIC
from authz.core.providers.azure import AZURE
from authz.core.providers.base import AllowedPath, ErrorShape, ModelPlace, ProviderType
from authz.core.providers.bedrock import BEDROCK
from authz.core.providers.copilot import COPILOT
from authz.core.providers.gemini import GEMINI
from authz.core.providers.openai import OPENAI_FORMAT

__all__ = [
    "API_PREFIXES",
    "PROVIDER_TYPES",
    "RESERVED_NAMES",
    "AllowedPath",
    "ErrorShape",
    "ModelPlace",
    "ProviderType",
]

RESERVED_NAMES = frozenset({"api", "healthz", "readyz", "sessions", "models", "clients", "oauth"})
"""Names that no provider may have, since Coder's gateway or authz has other paths under them."""

API_PREFIXES = ("/api/v2/ai-gateway", "/api/v2/aibridge")
"""Coder's two prefixes; authz also serves ``/<provider>`` without a prefix."""

PROVIDER_TYPES = {
    provider_type.name: provider_type
    for provider_type in (ANTHROPIC, *OPENAI_FORMAT, AZURE, GEMINI, BEDROCK, COPILOT)
}
"""Provider types by the value of ``type`` in ``gateway.yaml``."""
