"""The routes of Claude Code's sign-in: at the gateway's root, and below each provider's base."""

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute, StringMatcher

from authz.check.ext_authz import CONTEXT_KIND, KIND_AUTHZ
from authz.config.claude_code import Telemetry
from authz.config.settings import Config, Provider
from authz.core.header_names import ACCOUNT_HEADERS
from authz.core.providers.anthropic import MESSAGE_PATHS
from authz.envoy.api_routes import to_authz
from authz.envoy.collector import TELEMETRY_CLUSTER
from authz.envoy.filters import EXT_AUTHZ
from authz.envoy.http1 import NO_UPGRADE
from authz.envoy.mounts import Mount
from authz.envoy.packing import packed_context, regex, set_header
from authz.envoy.provider_routes import method_is, no_websocket, served

_NAME = "Claude Code"
_OAUTH_PATHS = (
    "/.well-known/oauth-authorization-server",
    "/oauth/device_authorization",
    "/oauth/revoke",
)
"""Below a provider's base, authz is asked for these with the provider's name behind them."""
_TELEMETRY = "/v1/(?:metrics|logs|traces)"
_CONTENT_TYPE = "content-type"


def root_routes(config: Config) -> list[Route]:
    """Return the routes at the gateway's root, if sign-in from Claude Code is on."""
    providers = config.claude_code_providers
    if not providers:
        return []
    mount = _root_mount(providers[0])
    messages = [
        no_websocket(providers[0], mount, MESSAGE_PATHS),
        *served(providers[0], mount, config, MESSAGE_PATHS),
    ]
    for route in messages:
        # Another name than that of the same path below the provider's base.
        route.name = f"{_NAME}: {route.name}"
    routes = [
        *(_to_authz("", path, path) for path in _OAUTH_PATHS[1:]),
        _to_authz("", "/managed/settings", "/managed/settings"),
        *_telemetry("", config),
        *messages,
    ]
    if config.sign_in.claude_code.models:
        routes.append(_to_authz("", "/v1/models", "/v1/models"))
    return routes


def below_provider(provider: Provider, mount: Mount, config: Config) -> list[Route]:
    """Return the routes below a provider's base, to be tried before the provider's own."""
    if provider not in config.claude_code_providers:
        return []
    return [
        *(_to_authz(mount.prefix, path, f"{path}/{provider.name}") for path in _OAUTH_PATHS),
        _to_authz(mount.prefix, "/oauth/token", "/oauth/token"),
        _to_authz(mount.prefix, "/managed/settings", "/managed/settings"),
        *_telemetry(mount.prefix, config),
    ]


def _root_mount(provider: Provider) -> Mount:
    base_path = provider.base_url.path.rstrip("/")
    replaced = "" if base_path else None
    return Mount(prefix="", inside="", replaced=replaced, base_path=base_path, native=False)


def _to_authz(prefix: str, path: str, asked: str) -> Route:
    """Return a route to authz, which is asked for the path ``asked`` whatever the prefix is."""
    route = to_authz(_NAME, prefix + path.replace(".", r"\."))
    if prefix:
        assert route.route is not None  # noqa: S101
        route.route.path_rewrite = asked
    return route


def _telemetry(prefix: str, config: Config) -> list[Route]:
    settings = config.sign_in.claude_code.telemetry
    forwarded = [] if settings is None else [_forwarded(prefix, settings, config)]
    return [*forwarded, *_dropped(prefix)]


def _forwarded(prefix: str, settings: Telemetry, config: Config) -> Route:
    """Send OTLP over HTTP on to the collector, for callers with a token.

    authz's answer removes every credential header, and the filters after it those of the gateway.
    A query could hold a credential, so a request with one does not go on.
    """
    further = {name for provider in config.providers for name in provider.credential_headers}
    url = settings.otlp
    has_no_query = HeaderMatcher(
        name=":path", string_match=StringMatcher(safe_regex=regex(r"[^?]*"))
    )
    return Route(
        name=f"{_NAME} telemetry to the collector",
        match=RouteMatch(
            safe_regex=regex(f"{prefix}{_TELEMETRY}"), headers=[method_is("POST"), has_no_query]
        ),
        route=RouteAction(
            cluster=TELEMETRY_CLUSTER,
            regex_rewrite=RegexMatchAndSubstitute(
                pattern=regex(f"^.*({_TELEMETRY})$"),
                substitution=url.path.rstrip("/").replace("\\", r"\\") + r"\1",
            ),
            host_rewrite_literal=url.authority,
            timeout=timedelta(seconds=10),
            # A client of OTLP tries again by itself.
            retry_policy=RetryPolicy(),
            upgrade_configs=[NO_UPGRADE],
        ),
        request_headers_to_remove=sorted({*further, *ACCOUNT_HEADERS}),
        typed_per_filter_config={EXT_AUTHZ: packed_context({CONTEXT_KIND: KIND_AUTHZ})},
    )


def _dropped(prefix: str) -> list[Route]:
    """Accept OTLP over HTTP from callers with a token, and keep nothing of it.

    Any other answer would make the client log an error each time. Envoy answers without reading
    the body.
    """
    is_json = HeaderMatcher(
        name=_CONTENT_TYPE, string_match=StringMatcher(prefix="application/json")
    )
    return [
        Route(
            name=f"{_NAME} telemetry",
            match=RouteMatch(
                safe_regex=regex(f"{prefix}{_TELEMETRY}"), headers=[method_is("POST"), *matchers]
            ),
            direct_response=DirectResponseAction(
                status=200, body=DataSource(inline_string=body) if body else None
            ),
            response_headers_to_add=[set_header(_CONTENT_TYPE, kind)],
            typed_per_filter_config={EXT_AUTHZ: packed_context({CONTEXT_KIND: KIND_AUTHZ})},
        )
        for matchers, body, kind in (
            ([is_json], "{}", "application/json"),
            ([], "", "application/x-protobuf"),
        )
    ]
