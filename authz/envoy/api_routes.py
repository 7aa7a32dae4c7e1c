"""The routes to authz's own API, which authenticates its callers itself."""

from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    FilterConfig,
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthzPerRoute

from authz.core.header_names import PEER_HEADER
from authz.envoy.anonymous import slow_down
from authz.envoy.filters import EXT_AUTHZ, SESSION_FILTER
from authz.envoy.http1 import NO_UPGRADE
from authz.envoy.packing import packed, regex, set_header

AUTHZ_HTTP_CLUSTER = "authz_http"
_NAME = "token API"
_PREFIX = "/api/v2"
_GATEWAY = "(?:ai-gateway|aibridge)"
_MANAGEMENT = f"{_GATEWAY}/(?:sessions|models|clients)(?:/.*)?"
"""Coder's own API for its gateway, which authz does not have. Coder reserves these words, so no
provider has one of them as its name."""


def api_routes() -> list[Route]:
    """Return the routes below ``/api/v2``, to be tried after those of providers.

    authz answers every method and every path, also those that its API does not have, as Coder does.
    Below ``ai-gateway`` there is no API: a path that no provider serves there is an unknown path.
    """
    return [
        to_authz(_NAME, f"{_PREFIX}/{_MANAGEMENT}"),
        Route(
            name="unknown",
            # Without a route Envoy would answer 404 before authz checks the token.
            match=RouteMatch(safe_regex=regex(f"{_PREFIX}/{_GATEWAY}(?:/.*)?")),
            direct_response=DirectResponseAction(status=404),
        ),
        to_authz(_NAME, f"{_PREFIX}/.*"),
    ]


def to_authz(name: str, pattern: str) -> Route:
    """Return a route to authz's HTTP server, which authenticates the caller itself."""
    route = Route(
        name=name,
        match=RouteMatch(safe_regex=regex(pattern)),
        route=RouteAction(
            cluster=AUTHZ_HTTP_CLUSTER,
            timeout=timedelta(seconds=10),
            # The retries of the virtual host are for providers.
            retry_policy=RetryPolicy(),
            upgrade_configs=[NO_UPGRADE],
        ),
        request_headers_to_add=[
            set_header(PEER_HEADER, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")
        ],
        typed_per_filter_config={
            EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True)),
            SESSION_FILTER: packed(FilterConfig(disabled=True)),
        },
    )
    return slow_down(route)


def is_served_by_authz(route: Route) -> bool:
    """Return whether a route leads to the API or a page, whose answers set a session's cookie."""
    return SESSION_FILTER in route.typed_per_filter_config
