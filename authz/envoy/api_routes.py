"""The routes to the token API, which authz serves and which authenticates by itself."""

from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import (
    FilterConfig,
    Route,
    RouteAction,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthzPerRoute
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutationPerRoute,
)

from authz.envoy.filters import CLEAN_API_FILTER, CLEAN_FILTER, EXT_AUTHZ
from authz.envoy.packing import packed, regex, set_header
from authz.headers import PEER_HEADER

AUTHZ_HTTP_CLUSTER = "authz_http"
_NAME = "token API"
_USER = "users/[^/]+"
_PATHS = (
    "openapi\\.json",
    "buildinfo",
    _USER,
    f"{_USER}/keys(?:/[^/]+){{0,2}}",
)
"""Those of ``authz.web.api.operations``, behind ``/api/v2/``; a test compares."""


def api_routes() -> list[Route]:
    """Return the routes of the token API.

    Whatever their method, authz answers: it knows which there are. Where Coder manages users and
    tokens, its answer says so.
    """
    return [
        Route(
            name=_NAME,
            match=RouteMatch(safe_regex=regex(f"/api/v2/(?:{'|'.join(_PATHS)})")),
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
    ]


def is_api_route(route: Route) -> bool:
    """Say whether a route is one of ``api_routes``."""
    return route.name == _NAME
