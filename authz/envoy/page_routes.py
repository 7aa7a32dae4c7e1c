"""The routes to the pages, which authz serves and which authenticate their users themselves."""

from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthzPerRoute
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from authz.envoy.anonymous import slow_down
from authz.envoy.api_routes import to_authz
from authz.envoy.filters import EXT_AUTHZ
from authz.envoy.packing import packed, set_header
from authz.envoy.provider_routes import method_is

_NAME = "page"
_BASE = "/ui"


def page_routes() -> list[Route]:
    """Return the routes of the pages, to be tried after those of providers: one may be named ui."""
    front = Route(
        name="page front",
        match=RouteMatch(
            path="/",
            headers=[method_is("GET", "HEAD"), _wants_html()],
        ),
        # Not `redirect`: that names a scheme, which a load balancer in front may have changed.
        direct_response=DirectResponseAction(status=303),
        response_headers_to_add=[set_header("location", f"{_BASE}/")],
        typed_per_filter_config={EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True))},
    )
    return [
        slow_down(front),
        # Every path: authz answers unknown ones with a page as well.
        to_authz(_NAME, f"{_BASE}(?:/.*)?"),
    ]


def _wants_html() -> HeaderMatcher:
    return HeaderMatcher(name="accept", string_match=StringMatcher(contains="text/html"))
