"""The rules about paths where Envoy's routes are not authz's own.

The list of paths is that of the provider, from which Envoy's own routes are made, too.
"""

import re

from authz.check.route_facts import websocket_paths
from authz.config.settings import Provider
from authz.core.providers import AllowedPath

MAX_PATH = 4096
"""Longer paths are not compared with the patterns."""

_UNSAFE = re.compile(
    # A second slash, a segment that begins with a dot, and two dots anywhere: for some server each
    # of them leads out of the listed path.
    r"//|/\.|\.\."
    # Separators for some servers; Envoy writes an exclamation mark for a byte that is not UTF-8.
    r"|[^\x21-\x7e]|[\\;!#]"
    # An escape that is not one, and escapes of control characters, of the separators # % . / ; ? \,
    # of DEL, and of every byte outside ASCII: some servers decode overlong UTF-8, or take a wide
    # slash for a plain one.
    r"|%(?![0-9A-Fa-f]{2})|%[01]|%2[35eEfF]|%3[bBfF]|%5[cC]|%7[fF]|%[89a-fA-F]"
)


def below(path: str, prefix: str) -> str | None:
    """Return the part of a path below a prefix, or None if the path is not below it.

    Args:
        path: without the query.
        prefix: without a slash at its end; empty for the whole path.
    """
    rest = path.removeprefix(prefix)
    if not path.startswith(prefix) or not rest.startswith("/"):
        return None
    return rest


def is_safe(path: str) -> bool:
    """Return whether every server takes this path, without its query, for the same one."""
    return len(path) <= MAX_PATH and _UNSAFE.search(path) is None


def listed(provider: Provider, method: str, rest: str) -> AllowedPath | None:
    """Return the entry of the provider's list for a request, or None if it is not listed.

    Args:
        method: as the client sent it.
        rest: the path below the provider's prefix, without the query; ``is_safe``.
    """
    for path in provider.paths:
        if method in path.methods and re.fullmatch(path.pattern, rest):
            return path
    return None


def listed_websocket(provider: Provider, method: str, rest: str) -> AllowedPath | None:
    """Return the entry for a WebSocket, or None if the provider has none there."""
    if not provider.websockets:
        return None
    for path in websocket_paths(provider):
        if method in path.methods and re.fullmatch(path.pattern, rest):
            return path
    return None


def is_listed(provider: Provider, rest: str) -> bool:
    """Return whether the provider lists a path with any method, or as a WebSocket."""
    every = (*provider.paths, *websocket_paths(provider))
    return any(re.fullmatch(path.pattern, rest) for path in every)
