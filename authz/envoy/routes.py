"""The routes of the gateway listener: a matcher tree finds the provider, then a list the route."""

import re
from collections.abc import Sequence
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
from authz.config.settings import Config, Provider
from authz.core.providers import API_PREFIXES
from authz.envoy import claude_code_routes
from authz.envoy.anonymous import slow_down
from authz.envoy.api_routes import AUTHZ_HTTP_CLUSTER, api_routes
from authz.envoy.cors import allow_origins
from authz.envoy.filters import EXT_AUTHZ
from authz.envoy.http1 import NO_UPGRADE
from authz.envoy.mark import marked
from authz.envoy.mounts import gateway_mount
from authz.envoy.oauth_routes import oauth_routes
from authz.envoy.packing import packed, packed_context, regex
from authz.envoy.page_routes import page_routes
from authz.envoy.path_tree import Branch, path_tree
from authz.envoy.provider_routes import (
    RETRIES,
    method_is,
    provider_routes,
)
from authz.envoy.retries import retry_buffer

CA_CERTIFICATE_PATH = "/proxy/ca-cert.pem"
"""The path at which authz itself serves the proxy's CA certificate."""


def gateway_routes(config: Config) -> RouteConfiguration:
    """Return the routes of the gateway listener.

    Envoy compares a request with the routes of one provider only, so its cost does not grow with
    the number of providers.
    """
    exact = [_health("/healthz"), _health("/readyz")]
    if config.proxy is not None:
        exact += [_ca_certificate(prefix) for prefix in API_PREFIXES]
    branches = [_branch(provider, config, exact) for provider in config.providers]
    rest = [
        *exact,
        # authz's own paths below have no escaped slash.
        _escaped_slash_of_a_page(),
        _escaped_slash(),
        *oauth_routes(config),
        *claude_code_routes.root_routes(config),
        *page_routes(),
        *api_routes(),
        _unknown(),
    ]
    host = VirtualHost(
        name="gateway",
        domains=["*"],
        retry_policy=RETRIES,
        request_body_buffer_limit=retry_buffer(config),
    )
    if config.cors is not None:
        routes = [*rest, *(route for branch in branches for route in branch.routes)]
        allow_origins(host, routes, config.cors)
    if branches:
        host.matcher = path_tree(branches, rest)
    else:
        host.routes = rest
    return RouteConfiguration(
        name="gateway",
        virtual_hosts=[host],
        typed_per_filter_config=marked(config),
        validate_clusters=True,
    )


def _branch(provider: Provider, config: Config, exact: Sequence[Route]) -> Branch:
    mount = gateway_mount(provider)
    # A provider named proxy shares its path with the CA certificate, for example.
    below = re.compile(f"{mount.prefix}/")
    first = [route for route in exact if route.match and below.match(route.match.path or "")]
    return Branch(
        name=provider.name,
        prefixes=[f"{prefix}/{provider.name}" for prefix in ("", *API_PREFIXES)],
        pattern=mount.prefix,
        routes=[
            *first,
            *claude_code_routes.below_provider(provider, mount, config),
            *provider_routes(provider, mount, config),
        ],
    )


def _ca_certificate(prefix: str) -> Route:
    return Route(
        name=f"{prefix}/proxy/ca-cert.pem",
        match=RouteMatch(path=f"{prefix}/proxy/ca-cert.pem", headers=[method_is("GET", "HEAD")]),
        route=RouteAction(
            cluster=AUTHZ_HTTP_CLUSTER,
            path_rewrite=CA_CERTIFICATE_PATH,
            timeout=timedelta(seconds=2),
            retry_policy=RetryPolicy(),
            upgrade_configs=[NO_UPGRADE],
        ),
        typed_per_filter_config={EXT_AUTHZ: packed_context({CONTEXT_KIND: KIND_AUTHZ})},
    )


def _health(path: str) -> Route:
    route = Route(
        name=path,
        match=RouteMatch(path=path, headers=[method_is("GET", "HEAD")]),
        route=RouteAction(
            cluster=AUTHZ_HTTP_CLUSTER,
            timeout=timedelta(seconds=2),
            # One replica that is gone doesn't make the gateway unhealthy.
            retry_policy=RetryPolicy(retry_on="connect-failure,reset", num_retries=2),
            priority=RoutingPriority.HIGH,
            upgrade_configs=[NO_UPGRADE],
        ),
        typed_per_filter_config={EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True))},
    )
    return slow_down(route)


_ESCAPED_SLASH = "%(?:2[fF]|5[cC])"


def _escaped_slash_of_a_page() -> Route:
    # A browser has no token that authz could look up; Envoy answers with a page.
    route = Route(
        name="page: escaped slash",
        match=RouteMatch(safe_regex=regex(f"/ui/.*{_ESCAPED_SLASH}.*")),
        direct_response=DirectResponseAction(status=400),
        typed_per_filter_config={EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True))},
    )
    return slow_down(route)


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
