"""Provider types as data: credential headers, allowed paths, error shape; one file each.

The paths are those of ``coder-contract.md`` 2.1, an allow-list on purpose: a central key can have
administrative rights, so no other path is routed.
"""

from authz.core.providers.anthropic import ANTHROPIC
from authz.core.providers.azure import AZURE
from authz.core.providers.base import AllowedPath, ErrorShape, ProviderType
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
    "ProviderType",
]

RESERVED_NAMES = frozenset({"api", "healthz", "readyz", "sessions", "models", "clients"})
"""Words that Coder's gateway uses in the place of a provider's name (``coder-contract.md`` 2.1)."""

API_PREFIXES = ("/api/v2/ai-gateway", "/api/v2/aibridge")
"""Both of Coder's prefixes; a bare ``/<provider>`` is served too."""

PROVIDER_TYPES = {
    provider_type.name: provider_type
    for provider_type in (ANTHROPIC, *OPENAI_FORMAT, AZURE, GEMINI, BEDROCK, COPILOT)
}
"""Every ``type`` that a provider in ``gateway.yaml`` may have."""
