"""The proxy listener: CONNECT, checked by authz, then intercepted or tunnelled."""

import re
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    Http1ProtocolOptions,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteActionUpgradeConfig,
    RouteActionUpgradeConfigConnectConfig,
    RouteConfiguration,
    RouteMatch,
    RouteMatchConnectMatcher,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import (
    FilterStateValue,
    FilterStateValueSharedWithUpstream,
)
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import (
    Config as SetFilterState,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from authz.envoy.filters import (
    EXT_AUTHZ,
    PROXY_SESSION_KEY,
    PROXY_TOKEN_KEY,
    ext_authz,
    keep_request_id,
    router,
)
from authz.envoy.intercept import intercept_name
from authz.envoy.listener import (
    BUFFER_LIMIT_BYTES,
    connection_manager,
    filter_chain,
    tls_from_secret,
)
from authz.envoy.packing import envoy_address, packed, regex
from authz.envoy.provider_routes import packed_context
from authz.envoy.tunnels import TUNNEL_CLUSTER, UPSTREAM_PROXY_CLUSTER, resolve_host
from authz.ext_authz import CONTEXT_KIND, KIND_CONNECT
from authz.headers import GOVERNANCE
from authz.proxy.settings import Proxy
from authz.sds import listener_secret_file
from authz.settings import Config

PORTS = (80, 443)
"""Where a CONNECT may go (``coder-contract.md`` 4.2)."""

_TUNNEL_AUTHORITY = r"[^:/\[\]]+:(?:80|443)"
"""A name or an IPv4 address; a bracketed IPv6 address does not match and is refused."""


def proxy_listener(config: Config, proxy: Proxy) -> Listener:
    """Return the listener that ``HTTPS_PROXY`` names."""
    filters = [keep_request_id(), ext_authz(), _share_with_tunnel(), resolve_host(), router()]
    manager = connection_manager(config, _routes(config, proxy), filters)
    manager.upgrade_configs = [HttpConnectionManagerUpgradeConfig(upgrade_type="CONNECT")]
    assert manager.http2_protocol_options is not None  # noqa: S101 - set by connection_manager
    manager.http2_protocol_options.allow_connect = True
    # Some tools send `CONNECT host:port HTTP/1.0` without a Host header.
    manager.http_protocol_options = Http1ProtocolOptions(accept_http_10=True)
    # `api.openai.com.` is the same host, and must not slip past its interception.
    manager.strip_trailing_host_dot = True
    chain = filter_chain(manager)
    if proxy.tls is not None:
        path = listener_secret_file(config, "proxy")
        chain.transport_socket = tls_from_secret("proxy", path, watch_folder=False)
    return Listener(
        name="proxy",
        address=envoy_address(proxy.listen),
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=BUFFER_LIMIT_BYTES,
    )


def _routes(config: Config, proxy: Proxy) -> RouteConfiguration:
    hosts = config.intercepted_hosts
    context = {EXT_AUTHZ: packed_context({CONTEXT_KIND: KIND_CONNECT})}
    return RouteConfiguration(
        name="proxy",
        virtual_hosts=[
            *(_intercepted(host) for host in hosts),
            VirtualHost(name="other", domains=["*"], routes=_others(proxy, list(hosts))),
        ],
        typed_per_filter_config=context,
        # Set by authz for the tunnel; a company proxy upstream must not see it.
        request_headers_to_remove=[GOVERNANCE, "proxy-authorization"],
        validate_clusters=True,
    )


def _intercepted(host: str) -> VirtualHost:
    bracketed = f"[{host}]" if ":" in host else host
    return VirtualHost(
        name=host,
        domains=[f"{bracketed}:{port}" for port in PORTS],
        routes=[
            _connect("intercept", intercept_name(host), terminate=True),
            _forbidden("not a CONNECT"),
        ],
    )


def _others(proxy: Proxy, hosts: list[str]) -> list[Route]:
    """Routes for hosts of no provider; the first that matches serves."""
    if not proxy.tunnel:
        return [_forbidden("no tunnels"), _forbidden("not a CONNECT", connect=False)]
    # Defence in depth: whatever spelling of a provider's host came here is refused.
    names = "|".join(re.escape(host) for host in hosts)
    tunnel = (
        _connect("tunnel", TUNNEL_CLUSTER, terminate=True)
        if proxy.upstream_proxy is None
        else _connect("tunnel", UPSTREAM_PROXY_CLUSTER, terminate=False)
    )
    assert tunnel.match is not None  # noqa: S101 - set by _connect
    tunnel.match.headers = [_authority(_TUNNEL_AUTHORITY)]
    spelled = _forbidden("provider in another spelling")
    assert spelled.match is not None  # noqa: S101 - set by _forbidden
    spelled.match.headers = [_authority(rf"(?i)(?:{names})\.*(?::[0-9]*)?")]
    return [spelled, tunnel, _forbidden("port"), _forbidden("not a CONNECT", connect=False)]


def _connect(name: str, cluster: str, *, terminate: bool) -> Route:
    """Return a route for CONNECT; one that is not terminated goes on to another proxy as it is."""
    upgrade = RouteActionUpgradeConfig(upgrade_type="CONNECT")
    if terminate:
        upgrade.connect_config = RouteActionUpgradeConfigConnectConfig()
    return Route(
        name=name,
        match=RouteMatch(connect_matcher=RouteMatchConnectMatcher()),
        route=RouteAction(cluster=cluster, timeout=timedelta(0), upgrade_configs=[upgrade]),
    )


def _forbidden(name: str, *, connect: bool = True) -> Route:
    match = RouteMatch(connect_matcher=RouteMatchConnectMatcher())
    return Route(
        name=f"forbidden: {name}",
        match=match if connect else RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=403),
    )


def _authority(pattern: str) -> HeaderMatcher:
    return HeaderMatcher(name=":authority", string_match=StringMatcher(safe_regex=regex(pattern)))


def _share_with_tunnel() -> HttpFilter:
    shared = FilterStateValueSharedWithUpstream.ONCE
    values = {PROXY_TOKEN_KEY: f"%REQ({GOVERNANCE})%", PROXY_SESSION_KEY: "%REQ(X-REQUEST-ID)%"}
    config = SetFilterState(
        on_request_headers=[
            FilterStateValue(
                object_key=key,
                factory_key="envoy.string",
                format_string=SubstitutionFormatString(
                    text_format_source=DataSource(inline_string=value), omit_empty_values=True
                ),
                shared_with_upstream=shared,
                skip_if_empty=True,
            )
            for key, value in values.items()
        ]
    )
    return HttpFilter(name="authz.share_with_tunnel", typed_config=packed(config))
