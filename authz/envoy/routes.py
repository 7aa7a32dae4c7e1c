"""The routes of the gateway listener, in the order in which they are tried."""

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import RoutingPriority
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthzPerRoute

from authz.check.ext_authz import CONTEXT_KIND, KIND_AUTHZ
from authz.config.settings import Config
from authz.core.providers import API_PREFIXES
from authz.envoy.api_routes import (
    AUTHZ_HTTP_CLUSTER,
    api_routes,
    is_api_route,
    unknown_api_routes,
)
from authz.envoy.filters import EXT_AUTHZ, REMOVED_RESPONSE_HEADERS
from authz.envoy.mounts import gateway_mount
from authz.envoy.packing import packed, regex
from authz.envoy.page_routes import is_page_route, page_routes
from authz.envoy.provider_routes import (
    method_is,
    packed_context,
    provider_routes,
)

CA_CERTIFICATE_PATH = "/proxy/ca-cert.pem"
"""Where authz itself serves the proxy's CA certificate."""


def gateway_routes(config: Config) -> RouteConfiguration:
    """Return the routes of the gateway listener; the first match serves."""
    routes = [_health("/healthz"), _health("/readyz")]
    if config.proxy is not None:
        routes += [_ca_certificate(prefix) for prefix in API_PREFIXES]
    for provider in config.providers:
        mount = gateway_mount(provider)
        routes += provider_routes(provider, mount, config)
    # Behind it are only paths of authz itself, in which no slash is escaped.
    routes += [_escaped_slash_of_the_page(), _escaped_slash()]
    routes += api_routes()
    routes += page_routes()
    routes += unknown_api_routes()
    routes.append(_unknown())
    for route in routes:
        if not (is_api_route(route) or is_page_route(route)):
            # The token API and the page set a session's cookie; nobody else may.
            route.response_headers_to_remove = list(REMOVED_RESPONSE_HEADERS)
    return RouteConfiguration(
        name="gateway",
        virtual_hosts=[
            VirtualHost(
                name="gateway",
                domains=["*"],
                routes=routes,
            )
        ],
        validate_clusters=True,
    )


def _ca_certificate(prefix: str) -> Route:
    return Route(
        name=f"{prefix}/proxy/ca-cert.pem",
        match=RouteMatch(path=f"{prefix}/proxy/ca-cert.pem", headers=[method_is("GET", "HEAD")]),
        route=RouteAction(
            cluster=AUTHZ_HTTP_CLUSTER,
            path_rewrite=CA_CERTIFICATE_PATH,
            timeout=timedelta(seconds=2),
        ),
        typed_per_filter_config={EXT_AUTHZ: packed_context({CONTEXT_KIND: KIND_AUTHZ})},
    )


def _health(path: str) -> Route:
    return Route(
        name=path,
        match=RouteMatch(path=path, headers=[method_is("GET", "HEAD")]),
        route=RouteAction(
            cluster=AUTHZ_HTTP_CLUSTER,
            timeout=timedelta(seconds=2),
            # One replica that is gone doesn't make the gateway unhealthy.
            retry_policy=RetryPolicy(retry_on="connect-failure,reset", num_retries=2),
            priority=RoutingPriority.HIGH,
        ),
        typed_per_filter_config={EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True))},
    )


_ESCAPED_SLASH = "%(?:2[fF]|5[cC])"


def _escaped_slash_of_the_page() -> Route:
    # A browser has no token that authz could look up; Envoy answers with a page.
    return Route(
        name="page: escaped slash",
        match=RouteMatch(safe_regex=regex(f"/ui/.*{_ESCAPED_SLASH}.*")),
        direct_response=DirectResponseAction(status=400),
        typed_per_filter_config={EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True))},
    )


def _escaped_slash() -> Route:
    return Route(
        name="escaped slash",
        match=RouteMatch(safe_regex=regex(f".*{_ESCAPED_SLASH}.*")),
        direct_response=DirectResponseAction(status=404),
    )


def _unknown() -> Route:
    # A request without any route would get its 404 before authz is asked whose it is.
    return Route(
        name="unknown",
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=404),
    )
