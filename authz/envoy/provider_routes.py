"""The routes to one provider: its listed paths, WebSockets, and a 404 for the rest."""

import re
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    RetryPolicy,
    Route,
    RouteAction,
    RouteActionMaxStreamDuration,
    RouteActionUpgradeConfig,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    CheckSettings,
    ExtAuthzPerRoute,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute, StringMatcher
from envoy_data_plane.google.protobuf import Any

from authz.envoy.filters import EXT_AUTHZ
from authz.envoy.packing import exactly, packed, regex
from authz.ext_authz import (
    CONTEXT_BASE_URL,
    CONTEXT_KIND,
    CONTEXT_PROVIDER,
    CONTEXT_SUPPORTED,
    KIND_OWN,
)
from authz.providers import AllowedPath
from authz.settings import Provider

API_PREFIX = "(?:/api/v2/(?:ai-gateway|aibridge))?"
"""Both of Coder's prefixes, or none (``coder-contract.md`` 2.1)."""

# Nothing of the request has reached the provider when one of these happens, so that no answer is
# paid for twice.
_RETRY_ON = "connect-failure,refused-stream,reset-before-request"
_CLIMBING = r"(?:\.\.|%25)"
_RETRY_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a provider's paths are, for one kind of client.

    Attributes:
        prefix: pattern of what stands before them.
        inside: how much of the type's own paths is part of ``prefix`` already.
        rewrite: how a client's path becomes the provider's; None where it is the same.
    """

    prefix: str
    inside: str
    rewrite: RegexMatchAndSubstitute | None

    def pattern(self, path: AllowedPath | str) -> str:
        """Return the client's pattern for a path of the provider's type."""
        text = path if isinstance(path, str) else path.pattern
        return text.removeprefix(self.inside)


def gateway_mount(provider: Provider) -> Mount:
    """Return the place of a provider for clients with a base URL."""
    prefix = f"{API_PREFIX}/{provider.name}"
    rewrite = _rewrite(f"{prefix}{provider.provider_type.client_prefix}", provider)
    return Mount(prefix=prefix, inside="", rewrite=rewrite)


def native_mount(provider: Provider) -> Mount:
    """Return the place for clients of the proxy, which speak to the provider's own host."""
    native_path = provider.native_url.path.rstrip("/")
    same = native_path == provider.base_url.path.rstrip("/")
    prefix = re.escape(native_path)
    return Mount(
        prefix=prefix,
        inside=provider.provider_type.client_prefix,
        rewrite=None if same else _rewrite(prefix, provider),
    )


def provider_routes(provider: Provider, mount: Mount, websocket_seconds: float) -> list[Route]:
    """Return the routes of a provider; the first match serves.

    Args:
        provider: which.
        mount: where its paths are.
        websocket_seconds: how long a WebSocket may live: it outlives a revocation.
    """
    return [
        # Envoy has normalized the path once. Behind it may be a server that does it once more,
        # for which these would climb out of the allowed paths.
        _not_served(provider, f"{mount.prefix}/.*{_CLIMBING}.*"),
        *_websocket_routes(provider, mount, websocket_seconds),
        *_served(provider, mount),
        _not_served(provider, f"{mount.prefix}(?:/.*)?"),
    ]


def provider_cluster(provider: Provider) -> str:
    """Return the name of a provider's cluster."""
    return f"provider_{provider.name}"


def websocket_cluster(provider: Provider) -> str:
    """Return the name of a provider's cluster for WebSockets."""
    return f"provider_{provider.name}_websocket"


def packed_context(facts: dict[str, str]) -> Any:
    """Return a route's facts for authz, as per-route configuration of the ext_authz filter."""
    return packed(ExtAuthzPerRoute(check_settings=CheckSettings(context_extensions=facts)))


def method_is(*methods: str) -> HeaderMatcher:
    """Match requests with one of these methods."""
    matcher = (
        exactly(methods[0])
        if len(methods) == 1
        else StringMatcher(safe_regex=regex("|".join(methods)))
    )
    return HeaderMatcher(name=":method", string_match=matcher)


def _served(provider: Provider, mount: Mount) -> list[Route]:
    """One route for all paths that take the same methods."""
    routes = []
    for methods, paths in groupby(provider.provider_type.paths, _methods):
        action = _to_provider(provider, mount, provider_cluster(provider))
        action.retry_policy = RetryPolicy(retry_on=_RETRY_ON, num_retries=1)
        routes.append(
            Route(
                name=f"{provider.name} {'|'.join(methods)}",
                match=RouteMatch(
                    safe_regex=regex(mount.prefix + _any_of([mount.pattern(p) for p in paths])),
                    headers=[method_is(*methods)],
                ),
                route=action,
                typed_per_filter_config={EXT_AUTHZ: _context(provider, supported=True)},
                # A larger body is not kept for a retry, it streams.
                request_body_buffer_limit=_RETRY_BUFFER_BYTES,
            )
        )
    return routes


def _websocket_routes(provider: Provider, mount: Mount, seconds: float) -> list[Route]:
    """Serve WebSockets, or refuse them at once: Codex falls back after one try on a 426 only."""
    upgrade = HeaderMatcher(
        name="upgrade", string_match=StringMatcher(exact="websocket", ignore_case=True)
    )
    enabled = RouteActionUpgradeConfig(upgrade_type="websocket")
    routes = []
    if provider.websockets:
        action = _to_provider(provider, mount, websocket_cluster(provider))
        action.upgrade_configs = [enabled]
        action.max_stream_duration = RouteActionMaxStreamDuration(
            max_stream_duration=timedelta(seconds=seconds)
        )
        paths = [mount.pattern(path) for path in provider.provider_type.websocket_paths]
        routes.append(
            Route(
                name=f"{provider.name} WebSocket",
                match=RouteMatch(
                    safe_regex=regex(mount.prefix + _any_of(paths)),
                    headers=[method_is("GET"), upgrade],
                ),
                route=action,
                typed_per_filter_config={EXT_AUTHZ: _context(provider, supported=True)},
            )
        )
    paths = [mount.pattern(path) for path in provider.provider_type.paths]
    routes.append(
        Route(
            name=f"{provider.name} no WebSocket",
            match=RouteMatch(safe_regex=regex(mount.prefix + _any_of(paths)), headers=[upgrade]),
            direct_response=DirectResponseAction(status=426),
            typed_per_filter_config={EXT_AUTHZ: packed_context({CONTEXT_KIND: KIND_OWN})},
        )
    )
    return routes


def _not_served(provider: Provider, pattern: str) -> Route:
    return Route(
        name=f"{provider.name} not served",
        match=RouteMatch(safe_regex=regex(pattern)),
        direct_response=DirectResponseAction(status=404),
        typed_per_filter_config={EXT_AUTHZ: _context(provider, supported=False)},
    )


def _to_provider(provider: Provider, mount: Mount, cluster: str) -> RouteAction:
    return RouteAction(
        cluster=cluster,
        regex_rewrite=mount.rewrite,
        host_rewrite_literal=provider.base_url.authority,
        # An answer may stream for an hour; the idle timeout bounds a dead one.
        timeout=timedelta(0),
    )


def _rewrite(prefix: str, provider: Provider) -> RegexMatchAndSubstitute:
    base_path = provider.base_url.path.rstrip("/")
    return RegexMatchAndSubstitute(
        pattern=regex(f"^{prefix}(/.*)$"), substitution=rf"{base_path}\1"
    )


def _methods(path: AllowedPath) -> tuple[str, ...]:
    return path.methods


def _any_of(patterns: list[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})"


def _context(provider: Provider, *, supported: bool) -> Any:
    return packed_context(
        {
            CONTEXT_PROVIDER: provider.name,
            CONTEXT_BASE_URL: str(provider.base_url),
            CONTEXT_SUPPORTED: "true" if supported else "false",
        }
    )
