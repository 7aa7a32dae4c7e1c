"""Cross-origin requests of browsers, by Envoy's own filter."""

from collections.abc import Iterable

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.route.v3 import (
    FilterConfig,
    Route,
    RouteAction,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors, CorsPolicy
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from authz.config.cors import ANY_ORIGIN
from authz.config.cors import Cors as Settings
from authz.envoy.api_routes import is_served_by_authz
from authz.envoy.clusters import assignment
from authz.envoy.packing import exactly, packed, regex

CORS = "envoy.filters.http.cors"
_NOWHERE = "nowhere"
_NOT_FOUND = 404
_METHODS = "GET,POST,PUT,PATCH,DELETE"
_REQUEST_HEADERS = "authorization,*"
"""The wildcard stands for every header except this one (Fetch, CORS protocol)."""
_PREFLIGHT_SECONDS = 600


def cors_filter() -> HttpFilter:
    """Return the filter: before authz, since a preflight has no token.

    It answers the preflight of a configured origin. It also adds its headers to refusals of
    authz, so that a page can read them.
    """
    return HttpFilter(name=CORS, typed_config=packed(Cors()))


def allow_origins(host: VirtualHost, routes: Iterable[Route], settings: Settings) -> None:
    """Let pages of these origins call all routes but authz's own pages and API.

    Envoy's filter leaves routes with a ``direct_response`` alone. So those that answer 404, of
    which authz refuses every request, lead to a cluster without a host instead.

    Args:
        host: gets the policy.
        routes: all of the host's; they are changed.
        settings: the origins.
    """
    host.typed_per_filter_config[CORS] = packed(
        CorsPolicy(
            allow_origin_string_match=[_matcher(origin) for origin in settings.origins],
            allow_methods=_METHODS,
            allow_headers=_REQUEST_HEADERS,
            # Without cookies, which are never allowed, the wildcard stands for every header.
            expose_headers="*",
            max_age=str(_PREFLIGHT_SECONDS),
        )
    )
    for route in routes:
        if is_served_by_authz(route):
            route.typed_per_filter_config[CORS] = packed(FilterConfig(disabled=True))
        elif route.direct_response is not None and route.direct_response.status == _NOT_FOUND:
            route.direct_response = None
            # The connection manager allows upgrades here, so that authz refuses them.
            route.route = RouteAction(cluster=_NOWHERE)


def nowhere_cluster() -> Cluster:
    """Return the cluster of routes that serve nothing; it has no host."""
    return Cluster(
        name=_NOWHERE, type=ClusterDiscoveryType.STATIC, load_assignment=assignment(_NOWHERE)
    )


def _matcher(origin: str) -> StringMatcher:
    if origin == ANY_ORIGIN:
        return StringMatcher(safe_regex=regex(".+"))
    return exactly(origin)
