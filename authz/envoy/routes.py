"""Routes: which paths of a provider are served, and the facts each route gives to authz."""

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
from authz.ext_authz import CONTEXT_BASE_URL, CONTEXT_PROVIDER, CONTEXT_SUPPORTED
from authz.providers import AllowedPath
from authz.settings import Config, Provider

AUTHZ_HTTP_CLUSTER = "authz_http"
_API_PREFIX = "(?:/api/v2/(?:ai-gateway|aibridge))?"


def provider_cluster(provider: Provider) -> str:
    """Return the name of a provider's cluster."""
    return f"provider_{provider.name}"


def gateway_routes(config: Config) -> RouteConfiguration:
    """Return the routes of the gateway listener; the first match serves."""
    routes = [_health("/healthz"), _health("/readyz")]
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
    any_path = patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})"
    return Route(
        name=f"{provider.name} {'|'.join(methods)}",
        match=RouteMatch(safe_regex=regex(prefix + any_path), headers=[_method(*methods)]),
        route=RouteAction(
            cluster=provider_cluster(provider),
            regex_rewrite=RegexMatchAndSubstitute(
                pattern=regex(f"^{prefix}{provider.provider_type.client_prefix}(/.*)$"),
                substitution=rf"{base_path}\1",
            ),
            host_rewrite_literal=provider.base_url.authority,
            # An answer may stream for an hour; the idle timeout bounds a dead one.
            timeout=timedelta(0),
        ),
        typed_per_filter_config={EXT_AUTHZ: _context(provider, supported=True)},
    )


def _not_served(provider: Provider) -> Route:
    return Route(
        name=f"{provider.name} not served",
        match=RouteMatch(safe_regex=regex(f"{_API_PREFIX}/{provider.name}(?:/.*)?")),
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
    return packed(
        ExtAuthzPerRoute(
            check_settings=CheckSettings(
                context_extensions={
                    CONTEXT_PROVIDER: provider.name,
                    CONTEXT_BASE_URL: str(provider.base_url),
                    CONTEXT_SUPPORTED: "true" if supported else "false",
                }
            )
        )
    )


def _method(*methods: str) -> HeaderMatcher:
    matcher = (
        exactly(methods[0])
        if len(methods) == 1
        else StringMatcher(safe_regex=regex("|".join(methods)))
    )
    return HeaderMatcher(name=":method", string_match=matcher)
