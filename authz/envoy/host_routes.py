"""The routes of a provider's own host, for clients of the AI Gateway Proxy."""

import re
from collections.abc import Sequence
from dataclasses import replace

from envoy_data_plane.envoy.config.route.v3 import Route, RouteMatch

from authz.config.settings import Config, Provider
from authz.core.providers import AllowedPath
from authz.core.providers.base import ANY
from authz.envoy.mounts import Mount
from authz.envoy.provider_routes import (
    listed_routes,
    no_websocket,
    not_climbing,
    not_served,
    served,
)

_EVERY = AllowedPath(ANY, "/.*", central_key=False)
"""Every path of a host, for the user's own credential only."""
_EVERY_ELSE = replace(_EVERY, own_only=True)
"""The same where a central key serves listed paths: without an own credential it is a 404."""


def host_routes(providers: Sequence[Provider], config: Config) -> list[Route]:
    """Return the routes of a host; the first match serves.

    The proxy opens a host as a whole, so that clients can't get past it to what a provider does
    not list: Claude Code and Codex with a log-in ask for the account beside their models. All of
    it passes with the user's own credential; a central key gets no further than the listed paths.
    A host with a provider that takes no credential is not opened as a whole: no one there would
    check what a client calls its own credential.

    Args:
        providers: those on the host. Of two with one path, the first has it.
        config: as for ``provider_routes``.
    """
    mounts = [(provider, native_mount(provider)) for provider in providers]
    # The longest first: Google's OpenAI-compatible API lies below its native one.
    mounts.sort(key=lambda each: len(each[1].prefix), reverse=True)
    routes = [route for each in mounts for route in listed_routes(*each, config)]
    if any(provider.is_open for provider in providers):
        return [*routes, not_served(providers[0], RouteMatch(prefix="/"))]
    every = _EVERY_ELSE if any(map(_has_central_key, providers)) else _EVERY
    # Paths below a provider's own path belong to it, all others to the provider with the shortest.
    *_, shortest = mounts
    mounts[-1] = (shortest[0], _widened(*shortest))
    for provider, mount in mounts:
        if any(path.pattern == every.pattern for path in provider.paths):
            continue
        routes += [
            not_climbing(provider, mount),
            no_websocket(provider, mount, [every]),
            *served(provider, mount, config, [every]),
        ]
    return [*routes, not_served(providers[0], RouteMatch(prefix="/"))]


def native_mount(provider: Provider) -> Mount:
    """Return the place for clients of the proxy, which speak to the provider's own host."""
    native_path = provider.native_url.path.rstrip("/")
    base_path = provider.base_url.path.rstrip("/")
    same = native_path == base_path
    prefix = re.escape(native_path)
    return Mount(
        prefix=prefix,
        inside=provider.provider_type.client_prefix,
        replaced=None if same else prefix,
        base_path=base_path,
        native=True,
    )


def _widened(provider: Provider, mount: Mount) -> Mount:
    """Return the place of all paths of the host; of a mirror only those that it surely has."""
    native_path = provider.native_url.path.rstrip("/")
    if not mount.base_path.endswith(native_path):
        return mount
    replaced = None if mount.replaced is None else ""
    base_path = mount.base_path.removesuffix(native_path)
    return replace(mount, prefix="", replaced=replaced, base_path=base_path)


def _has_central_key(provider: Provider) -> bool:
    return bool(provider.key_references) or provider.signed or provider.is_open
