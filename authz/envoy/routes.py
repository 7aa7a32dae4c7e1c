"""Routes: which paths of a provider are served, and the facts each route gives to authz."""

import re
from datetime import timedelta
from itertools import groupby

from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    CheckSettings,
    ExtAuthzPerRoute,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute, StringMatcher
from envoy_data_plane.google.protobuf import Any

from authz.envoy.filters import EXT_AUTHZ, REMOVED_RESPONSE_HEADERS
from authz.envoy.packing import exactly, packed, regex
from authz.ext_authz import (
    CONTEXT_BASE_URL,
    CONTEXT_KIND,
    CONTEXT_PROVIDER,
    CONTEXT_SUPPORTED,
    KIND_OWN,
)
from authz.providers import API_PREFIXES, AllowedPath
from authz.settings import Config, Provider

AUTHZ_HTTP_CLUSTER = "authz_http"
CA_CERTIFICATE_PATH = "/proxy/ca-cert.pem"
"""Where authz itself serves the proxy's CA certificate."""
_API_PREFIX = "(?:/api/v2/(?:ai-gateway|aibridge))?"


def provider_cluster(provider: Provider) -> str:
    """Return the name of a provider's cluster."""
    return f"provider_{provider.name}"


def gateway_routes(config: Config) -> RouteConfiguration:
    """Return the routes of the gateway listener; the first match serves."""
    routes = [_health("/healthz"), _health("/readyz")]
    if config.proxy is not None:
        routes += [_ca_certificate(prefix) for prefix in API_PREFIXES]
    for provider in config.providers:
        routes += [*_served(provider), _not_served(provider)]
    routes.append(_unknown())
    return RouteConfiguration(
        name="gateway",
        virtual_hosts=[
            VirtualHost(
                name="gateway",
                domains=["*"],
                routes=routes,
                response_headers_to_remove=list(REMOVED_RESPONSE_HEADERS),
            )
        ],
        validate_clusters=True,
    )


def native_routes(provider: Provider) -> list[Route]:
    """Return the routes for clients that speak to the provider's own host, through the proxy.

    The same paths are served, written as the provider itself has them.
    """
    native_path = provider.native_url.path.rstrip("/")
    base_path = provider.base_url.path.rstrip("/")
    action = _to_provider(provider)
    if native_path != base_path:
        action.regex_rewrite = RegexMatchAndSubstitute(
            pattern=regex(f"^{re.escape(native_path)}(/.*)$"), substitution=rf"{base_path}\1"
        )
    routes = []
    for methods, paths in groupby(provider.provider_type.paths, _methods):
        prefix = provider.provider_type.client_prefix
        patterns = [path.pattern.removeprefix(prefix) for path in paths]
        routes.append(
            Route(
                name=f"{provider.name} {'|'.join(methods)}",
                match=RouteMatch(
                    safe_regex=regex(re.escape(native_path) + _any_of(patterns)),
                    headers=[_method(*methods)],
                ),
                route=action,
                typed_per_filter_config={EXT_AUTHZ: _context(provider, supported=True)},
            )
        )
    return [*routes, _refused(provider, RouteMatch(prefix="/"))]


def _ca_certificate(prefix: str) -> Route:
    return Route(
        name=f"{prefix}/proxy/ca-cert.pem",
        match=RouteMatch(path=f"{prefix}/proxy/ca-cert.pem", headers=[_method("GET", "HEAD")]),
        route=RouteAction(
            cluster=AUTHZ_HTTP_CLUSTER,
            path_rewrite=CA_CERTIFICATE_PATH,
            timeout=timedelta(seconds=2),
        ),
        typed_per_filter_config={EXT_AUTHZ: packed_context({CONTEXT_KIND: KIND_OWN})},
    )


def _health(path: str) -> Route:
    return Route(
        name=path,
        match=RouteMatch(path=path, headers=[_method("GET", "HEAD")]),
        route=RouteAction(cluster=AUTHZ_HTTP_CLUSTER, timeout=timedelta(seconds=2)),
        typed_per_filter_config={EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True))},
    )


def _served(provider: Provider) -> list[Route]:
    """One route for all paths that take the same methods."""
    return [
        _provider_route(provider, methods, [path.pattern for path in paths])
        for methods, paths in groupby(provider.provider_type.paths, _methods)
    ]


def _methods(path: AllowedPath) -> tuple[str, ...]:
    return path.methods


def _provider_route(provider: Provider, methods: tuple[str, ...], patterns: list[str]) -> Route:
    prefix = f"{_API_PREFIX}/{provider.name}"
    base_path = provider.base_url.path.rstrip("/")
    action = _to_provider(provider)
    action.regex_rewrite = RegexMatchAndSubstitute(
        pattern=regex(f"^{prefix}{provider.provider_type.client_prefix}(/.*)$"),
        substitution=rf"{base_path}\1",
    )
    return Route(
        name=f"{provider.name} {'|'.join(methods)}",
        match=RouteMatch(safe_regex=regex(prefix + _any_of(patterns)), headers=[_method(*methods)]),
        route=action,
        typed_per_filter_config={EXT_AUTHZ: _context(provider, supported=True)},
    )


def _to_provider(provider: Provider) -> RouteAction:
    return RouteAction(
        cluster=provider_cluster(provider),
        host_rewrite_literal=provider.base_url.authority,
        # An answer may stream for an hour; the idle timeout bounds a dead one.
        timeout=timedelta(0),
    )


def _any_of(patterns: list[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})"


def _not_served(provider: Provider) -> Route:
    match = RouteMatch(safe_regex=regex(f"{_API_PREFIX}/{provider.name}(?:/.*)?"))
    return _refused(provider, match)


def _refused(provider: Provider, match: RouteMatch) -> Route:
    return Route(
        name=f"{provider.name} not served",
        match=match,
        direct_response=DirectResponseAction(status=404),
        typed_per_filter_config={EXT_AUTHZ: _context(provider, supported=False)},
    )


def _unknown() -> Route:
    # A request without any route would get its 404 before authz is asked whose it is.
    return Route(
        name="unknown",
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=404),
    )


def _context(provider: Provider, *, supported: bool) -> Any:
    return packed_context(
        {
            CONTEXT_PROVIDER: provider.name,
            CONTEXT_BASE_URL: str(provider.base_url),
            CONTEXT_SUPPORTED: "true" if supported else "false",
        }
    )


def packed_context(facts: dict[str, str]) -> Any:
    """Return a route's facts for authz, as per-route configuration of the ext_authz filter."""
    return packed(ExtAuthzPerRoute(check_settings=CheckSettings(context_extensions=facts)))


def _method(*methods: str) -> HeaderMatcher:
    matcher = (
        exactly(methods[0])
        if len(methods) == 1
        else StringMatcher(safe_regex=regex("|".join(methods)))
    )
    return HeaderMatcher(name=":method", string_match=matcher)
