"""The routes to the page, which authz serves and which authenticates by itself."""

from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    FilterConfig,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthzPerRoute
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutationPerRoute,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from authz.core.header_names import PEER_HEADER
from authz.envoy.api_routes import AUTHZ_HTTP_CLUSTER
from authz.envoy.filters import CLEAN_API_FILTER, CLEAN_FILTER, EXT_AUTHZ
from authz.envoy.packing import packed, regex, set_header
from authz.envoy.provider_routes import method_is

_NAME = "page"
_BASE = "/ui"


def page_routes() -> list[Route]:
    """Return the routes of the page, to be tried after those of providers: one may be named ui."""
    # All of them: authz also answers what is no page, in HTML.
    path = f"{_BASE}(?:/.*)?"
    return [
        Route(
            name="page front",
            match=RouteMatch(
                path="/",
                headers=[method_is("GET", "HEAD"), _wants_html()],
            ),
            # Not `redirect`: that names a scheme, which a load balancer in front may have changed.
            direct_response=DirectResponseAction(status=303),
            response_headers_to_add=[set_header("location", f"{_BASE}/")],
            typed_per_filter_config={EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True))},
        ),
        Route(
            name=_NAME,
            match=RouteMatch(safe_regex=regex(path)),
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
        ),
    ]


def is_page_route(route: Route) -> bool:
    """Say whether a route is the page's own, whose answers set a session's cookie."""
    return route.name == _NAME


def _wants_html() -> HeaderMatcher:
    return HeaderMatcher(name="accept", string_match=StringMatcher(contains="text/html"))
