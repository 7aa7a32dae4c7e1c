"""Checks of base URLs: the paths of known hosts, and parts that clients send themselves.

The gateway removes the ``client_prefix`` of the provider's type from the client's path, and appends
the rest to the base URL. A base URL that ends with a part of the client's path, or that lacks the
version, therefore leads to a path that does not exist.
"""

import re

from authz.addresses import BaseUrl
from authz.core.providers import PROVIDER_TYPES

_OPENAI_HOST = r"(?:.+\.)?api\.openai\.com"
_GOOGLE_HOST = r"generativelanguage\.googleapis\.com"
_AZURE_HOST = r".+\.(?:openai\.azure\.com|services\.ai\.azure\.com|cognitiveservices\.azure\.com)"

_OWN_HOSTS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "anthropic": ((r"api\.anthropic\.com", ("/",)),),
    "openai": (
        (_OPENAI_HOST, ("/v1",)),
        (r"chatgpt\.com", ("/backend-api/codex",)),
        (_AZURE_HOST, ("/openai/v1",)),
    ),
    "openai-compat": (
        (_OPENAI_HOST, ("/v1",)),
        (r"api\.anthropic\.com", ("/v1",)),
        (r"openrouter\.ai", ("/api/v1",)),
        (_AZURE_HOST, ("/openai/v1", "/models")),
        (_GOOGLE_HOST, ("/v1beta/openai",)),
    ),
    "azure": ((_AZURE_HOST, ("/",)),),
    "google": ((_GOOGLE_HOST, ("/v1beta/openai",)),),
    "gemini": ((_GOOGLE_HOST, ("/",)),),
    "bedrock": ((r"bedrock-mantle\.[a-z0-9-]+\.api\.aws", ("/",)),),
    "copilot": ((r"(?:.+\.)?githubcopilot\.com", ("/",)),),
    "openrouter": ((r"openrouter\.ai", ("/api/v1",)),),
    "vercel": ((r"ai-gateway\.vercel\.sh", ("/v1",)),),
}
"""The known hosts of each type, with the paths that a base URL may have there."""

_FOREIGN_HOSTS = {
    "anthropic": (_OPENAI_HOST, _GOOGLE_HOST, _AZURE_HOST),
    "azure": (_OPENAI_HOST, r"api\.anthropic\.com", _GOOGLE_HOST),
    "gemini": (_OPENAI_HOST, r"api\.anthropic\.com", _AZURE_HOST, r".*aiplatform\.googleapis\.com"),
}
"""The hosts that do not speak the API of a type."""

_TWICE = {
    "anthropic": r"/v1",
    "azure": r"/openai/v1|/openai/deployments(?:/.*)?|/v1",
    "gemini": r"/v1(?:beta)?(?:/openai|/models)?",
    "bedrock": r"(?:/anthropic|/openai)?/v1",
    "copilot": r"/v1",
}
"""The endings of a base URL that the clients of a type send themselves."""

_ENDPOINT = r"/(?:(?:chat/)?completions|responses|messages|embeddings)"
_VERSION = re.compile(r"/v\d+[a-z0-9]*(?:/|$)")


def base_url_problem(kind: str, url: BaseUrl) -> str | None:
    """Return why requests to a base URL can't work and the cure, or None.

    Args:
        kind: the provider's type.
        url: its ``base_url`` or ``public_url``.
    """
    for pattern, paths in _OWN_HOSTS[kind]:
        if re.fullmatch(pattern, url.host):
            if url.path in paths:
                return None
            return f"can't work with the path {url.path}: use {_with_path(url, paths[0])}"
    if any(re.fullmatch(pattern, url.host) for pattern in _FOREIGN_HOSTS.get(kind, ())):
        return f"can't work: {url.host} does not speak the API of type {kind}"
    path = url.path.removesuffix(_ending(_ENDPOINT, url.path))
    path = path.removesuffix(_ending(_TWICE.get(kind, "(?!)"), path))
    if path == url.path:
        return None
    twice = url.path.removeprefix(path)
    return f"can't work: clients send {twice} themselves, use {_with_path(url, path)}"


def base_url_warning(kind: str, url: BaseUrl) -> str | None:
    """Return why requests to a base URL will probably fail and the cure, or None."""
    if PROVIDER_TYPES[kind].client_prefix != "/v1" or _VERSION.search(url.path):
        return None
    # A mirror of a host whose paths have no version.
    if any(url.path.endswith(path) for _, paths in _OWN_HOSTS[kind] for path in paths):
        return None
    path = f"{url.path.rstrip('/')}/v1"
    return (
        f"has no version: it replaces the clients' /v1, so most servers need "
        f"{_with_path(url, path)}"
    )


def _ending(pattern: str, path: str) -> str:
    match = re.search(f"(?:{pattern})$", path)
    return match[0] if match else ""


def _with_path(url: BaseUrl, path: str) -> str:
    return str(BaseUrl(url.tls, url.host, url.port, path or "/"))
