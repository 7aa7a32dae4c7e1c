"""The routes to the token API, which authz serves and which authenticates by itself."""

from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    FilterConfig,
    Route,
    RouteAction,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthzPerRoute
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutationPerRoute,
)

from authz.core.header_names import PEER_HEADER
from authz.envoy.filters import CLEAN_API_FILTER, CLEAN_FILTER, EXT_AUTHZ
from authz.envoy.packing import packed, regex, set_header

AUTHZ_HTTP_CLUSTER = "authz_http"
_NAME = "token API"
_PREFIX = "/api/v2"
_USER = "users/[^/]+"
_PATHS = (
    "openapi\\.json",
    "buildinfo",
    "organizations(?:/[^/]+)?",
    "users",
    _USER,
    f"{_USER}/keys(?:/[^/]+){{0,2}}",
    f"{_USER}/organizations(?:/[^/]+)?",
    f"{_USER}/roles",
    f"{_USER}/status/[^/]+",
)
"""Those of ``authz.web.api.operations``, behind ``/api/v2/``; a test compares."""
_GATEWAY = "(?:ai-gateway|aibridge)"
_MANAGEMENT = f"{_GATEWAY}/(?:sessions|models|clients)(?:/.*)?"
"""Coder's own API for its gateway, which is not here. Coder reserves the words: no provider has
them as a name."""


def api_routes() -> list[Route]:
    """Return the routes of the token API.

    Whatever their method, authz answers: it knows which there are. Where Coder manages users and
    tokens, its answer says so.
    """
    return [_to_authz(f"{_PREFIX}/(?:{'|'.join(_PATHS)})")]


def unknown_api_routes() -> list[Route]:
    """Return the routes of the rest of Coder's API, to be tried after those of providers.

    authz answers that there is no such route, as Coder does. Below ``ai-gateway`` is no API: what
    no provider serves there is an unknown path like any other.
    """
    return [
        _to_authz(f"{_PREFIX}/{_MANAGEMENT}"),
        unknown(f"{_PREFIX}/{_GATEWAY}(?:/.*)?"),
        _to_authz(f"{_PREFIX}/.*"),
    ]


def unknown(pattern: str) -> Route:
    """Return the route of paths that are not served.

    Without a route Envoy would answer 404 before authz is asked whose the request is.
    """
    return Route(
        name="unknown",
        match=RouteMatch(safe_regex=regex(pattern)),
        direct_response=DirectResponseAction(status=404),
    )


def _to_authz(pattern: str) -> Route:
    return Route(
        name=_NAME,
        match=RouteMatch(safe_regex=regex(pattern)),
        route=RouteAction(cluster=AUTHZ_HTTP_CLUSTER, timeout=timedelta(seconds=10)),
        request_headers_to_add=[
            set_header(PEER_HEADER, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")
        ],
        response_headers_to_remove=["alt-svc"],
        typed_per_filter_config={
            EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True)),
            CLEAN_FILTER: packed(FilterConfig(disabled=True)),
            CLEAN_API_FILTER: packed(FilterConfig(config=packed(HeaderMutationPerRoute()))),
        },
    )


def is_api_route(route: Route) -> bool:
    """Say whether a route is the token API's own, whose answers set a session's cookie."""
    return route.name == _NAME
