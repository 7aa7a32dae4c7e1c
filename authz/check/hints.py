"""Says in the text of a 404 what to do about it. Nothing is decided here."""

import re
from collections.abc import Iterable

from authz.config.settings import Provider
from authz.core.providers import API_PREFIXES

_MAX_PATH = 1024
_ESCAPED_SLASH = re.compile("%(?:2f|5c)", re.IGNORECASE)
_CLIMBING = re.compile(r"\.\.|%25")
_VERSIONS = ("/v1", "/openai/v1", "/openai")
"""What base URLs end in, and what clients put in front of a path."""


def unknown_provider(path: str, names: Iterable[str]) -> str:
    """Advise on a path that leads to no provider.

    Args:
        path: without the query, escaped as it came.
        names: of the providers.
    """
    if _ESCAPED_SLASH.search(path):
        return _escaped_slash()
    listed = ", ".join(f"/{name}" for name in names)
    return f"The path has to begin with a provider: {listed}" if listed else ""


def not_served(method: str, path: str, provider: Provider, *, own_passes: bool) -> str:
    """Advise on a path that is not served at a provider.

    Args:
        path: without the query, escaped as it came.
        own_passes: whether the path is served with the user's own credential.
    """
    if _ESCAPED_SLASH.search(path):
        return _escaped_slash()
    if _CLIMBING.search(path):
        return 'A path with ".." or "%25" is not served'
    rest, is_native = _behind_name(path, provider.name)
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


def _behind_name(path: str, name: str) -> tuple[str, bool]:
    """Return what follows the provider's name, and whether there is no name, as on its own host."""
    for prefix in (*API_PREFIXES, ""):
        before = f"{prefix}/{name}"
        if path == before or path.startswith(f"{before}/"):
            return path.removeprefix(before), False
    return path, True


def _base_url(rest: str, provider: Provider) -> str:
    """Advise on a base URL that ends too early or too late."""
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
    """Return the methods that a path is served with; nothing for a path that is not served."""
    if len(rest) > _MAX_PATH:
        return ()
    found = [path for path in provider.paths if re.fullmatch(path.pattern, rest)]
    return tuple(dict.fromkeys(method for path in found for method in path.methods))
