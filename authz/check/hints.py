"""Writes advice for the text of a 404. It decides nothing."""

import re
from collections.abc import Iterable

from authz.config.settings import Provider
from authz.core.providers import API_PREFIXES

_MAX_PATH = 1024
_ESCAPED_SLASH = re.compile("%(?:2f|5c)", re.IGNORECASE)
_CLIMBING = re.compile(r"\.\.|%25")
_VERSIONS = ("/v1", "/openai/v1", "/openai")
"""Ends of base URLs, which clients also put in front of a path."""


def unknown_provider(path: str, names: Iterable[str]) -> str:
    """Return advice on a path that leads to no provider.

    Args:
        path: without the query, still escaped.
        names: of the providers.
    """
    if _ESCAPED_SLASH.search(path):
        return _escaped_slash()
    listed = ", ".join(f"/{name}" for name in names)
    return f"The path has to begin with a provider: {listed}" if listed else ""


def not_served(method: str, path: str, provider: Provider, *, own_passes: bool) -> str:
    """Return advice on a path of a provider that is not served.

    Args:
        path: without the query, still escaped.
        own_passes: whether the path is served with the user's own credential.
    """
    if _ESCAPED_SLASH.search(path):
        return _escaped_slash()
    if _CLIMBING.search(path):
        return 'A path with ".." or "%25" is not served'
    rest, is_native = _after_name(path, provider.name)
    if not is_native:
        advice = _base_url(rest, provider)
        if advice:
            return advice
        methods = _methods(rest, provider)
        if methods and method not in methods:
            return f"This path takes {', '.join(methods)}"
    own = "It is served with your own credential only; " if own_passes else ""
    return (
        f"{own}{'an' if own else 'An'} administrator can add the path: extra_paths of provider "
        f'"{provider.name}" in gateway.yaml'
    )


def _escaped_slash() -> str:
    return "An escaped slash (%2F, %5C) is served in the name of a model, below /models, only"


def _after_name(path: str, name: str) -> tuple[str, bool]:
    """Split a path after the provider's name.

    Returns:
        The rest, and whether the path has no provider's name, as on the provider's own host.
    """
    for prefix in (*API_PREFIXES, ""):
        base = f"{prefix}/{name}"
        if path == base or path.startswith(f"{base}/"):
            return path.removeprefix(base), False
    return path, True


def _base_url(rest: str, provider: Provider) -> str:
    """Return advice on a base URL that ends too early or too late, or an empty text."""
    for version in _VERSIONS:
        if rest.startswith(f"{version}{version}/"):
            once = rest.removeprefix(version)
            if _methods(once, provider):
                return f'"{version}" is in the path twice: let the base URL end in /{provider.name}'
        if _methods(f"{version}{rest}", provider):
            return (
                f'"{version}" is missing in the path: let the base URL end in '
                f"/{provider.name}{version}"
            )
    return ""


def _methods(rest: str, provider: Provider) -> tuple[str, ...]:
    """Return the methods of a path; empty for a path that is not served."""
    if len(rest) > _MAX_PATH:
        return ()
    found = [path for path in provider.paths if re.fullmatch(path.pattern, rest)]
    return tuple(dict.fromkeys(method for path in found for method in path.methods))
