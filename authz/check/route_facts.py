"""The facts about a provider's path, for a route's ``context_extensions``.

Envoy's configuration and the checks of external gateways state the same facts.
"""

from authz.check.ext_authz import (
    CONTEXT_BASE_URL,
    CONTEXT_CENTRAL_KEY,
    CONTEXT_KEYLESS,
    CONTEXT_PROVIDER,
    CONTEXT_SUPPORTED,
    SUPPORTED_OWN,
)
from authz.config.settings import Config, Provider
from authz.core.providers import AllowedPath


def route_facts(provider: Provider, path: AllowedPath | None) -> dict[str, str]:
    """Return the facts about a path; ``path`` is None where nothing is served."""
    facts = {
        CONTEXT_PROVIDER: provider.name,
        CONTEXT_BASE_URL: str(provider.base_url),
        CONTEXT_SUPPORTED: (
            "false" if path is None else SUPPORTED_OWN if path.own_only else "true"
        ),
    }
    if path is not None and path.keyless:
        facts[CONTEXT_KEYLESS] = "true"
    if path is not None and not path.central_key:
        facts[CONTEXT_CENTRAL_KEY] = "false"
    return facts


def destination(provider: Provider) -> str:
    """Return a provider's name and base URL, in words: a key goes to no other place."""
    return f"{provider.name} {provider.base_url}"


def websocket_paths(provider: Provider) -> list[AllowedPath]:
    """Return the paths on which the provider's type has WebSockets."""
    patterns = provider.provider_type.websocket_paths
    return [AllowedPath(("GET",), pattern, inference=True) for pattern in patterns]


def has_actor(config: Config, path: AllowedPath) -> bool:
    """Return whether the provider learns on this path whose request it is."""
    return config.send_actor_headers and path.inference


def removed_headers(provider: Provider, config: Config, path: AllowedPath) -> list[str]:
    """Return the request headers that the provider must not get on this path.

    Envoy can't read tokens out of a compressed answer, and providers compress when they are asked
    to. Every path with a POST counts: only those answer with what a model used.
    """
    metered = config.usage.enabled and "POST" in path.methods
    return [*provider.provider_type.removed_headers, *(["accept-encoding"] if metered else [])]
