"""The proxy listener: CONNECT, checked by authz, then intercepted or tunnelled."""

import re
from datetime import timedelta

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import (
    HeaderMutation as Mutation,
)
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import (
    HeaderMutationRemoveOnMatch,
)
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
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
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutation,
    Mutations,
)
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import (
    Config as SetFilterState,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from authz.check.ext_authz import CONTEXT_KIND, KIND_CONNECT
from authz.config.proxy import Proxy
from authz.config.settings import Config
from authz.core.header_names import GOVERNANCE
from authz.envoy.early_refusals import refuse_early
from authz.envoy.filters import (
    EXT_AUTHZ,
    PROXY_TOKEN_KEY,
    ext_authz,
    keep_request_id,
    router,
)
from authz.envoy.http1 import http1_options
from authz.envoy.intercept import intercept_name
from authz.envoy.listener import (
    BUFFER_LIMIT_BYTES,
    connection_manager,
    filter_chain,
    tls_from_secret,
)
from authz.envoy.mark import mark
from authz.envoy.open_streams import watch, watched
from authz.envoy.packing import envoy_address, packed, packed_context, regex
from authz.envoy.proxy_replies import tunnel_replies
from authz.envoy.tunnels import TUNNEL_CLUSTER, UPSTREAM_PROXY_CLUSTER, resolve_host
from authz.sds.secret_files import listener_secret_file
from authz.usage.names import PROXY_SESSION_KEY

PORTS = (80, 443)
"""The ports that a CONNECT may name, as in Coder's proxy."""

_PORT = ":(?:80|443)"
_NAME = r"(?:[A-Za-z0-9_-]+\.)*[A-Za-z][A-Za-z0-9_-]*"
"""A name whose last label no resolver takes for a number, as in 127.1, 0x7f000001, 2130706433."""
_NUMBER = "(?:0|[1-9][0-9]{0,2})"
_IPV4 = rf"(?:{_NUMBER}\.){{3}}{_NUMBER}"
"""The one spelling of an IPv4 address. A bracketed IPv6 address is refused."""
_LOCALHOST = r"(?i)(?:.*\.)?localhost:[0-9]*"


def proxy_listener(config: Config, proxy: Proxy) -> Listener:
    """Return the listener that ``HTTPS_PROXY`` names."""
    filters = [
        keep_request_id(),
        refuse_early(),
        *watch(config),
        ext_authz(),
        _share_with_tunnel(),
        _forget_headers(),
        resolve_host(proxy),
        router(),
    ]
    manager = connection_manager(config, _routes(config, proxy), filters)
    manager.upgrade_configs = [HttpConnectionManagerUpgradeConfig(upgrade_type="CONNECT")]
    # Both are set by connection_manager.
    assert manager.local_reply_config is not None  # noqa: S101
    assert manager.http2_protocol_options is not None  # noqa: S101
    manager.local_reply_config.mappers[:0] = tunnel_replies()
    manager.http2_protocol_options.allow_connect = True
    manager.http_protocol_options = http1_options(upgrade=None)
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
    facts = {CONTEXT_KIND: KIND_CONNECT, **mark(config)}
    context = {EXT_AUTHZ: packed_context(facts), **watched(config, facts)}
    return RouteConfiguration(
        name="proxy",
        virtual_hosts=[
            *(_intercepted(host) for host in hosts),
            VirtualHost(name="other", domains=["*"], routes=_others(proxy, list(hosts))),
        ],
        typed_per_filter_config=context,
        validate_clusters=True,
    )


def _intercepted(host: str) -> VirtualHost:
    bracketed = f"[{host}]" if ":" in host else host
    return VirtualHost(
        name=host,
        domains=[f"{bracketed}:{port}" for port in PORTS],
        routes=[
            _connect("intercept", _connect_to(), intercept_name(host), terminate=True),
            _forbidden("not a CONNECT", RouteMatch(prefix="/")),
        ],
    )


def _others(proxy: Proxy, hosts: list[str]) -> list[Route]:
    """Return the routes for all other hosts; the first match serves."""
    no_connect = _forbidden("not a CONNECT", RouteMatch(prefix="/"))
    if not proxy.tunnel:
        return [_forbidden("no tunnels", _connect_to()), no_connect]
    names = "|".join(re.escape(host) for host in hosts)
    # Defence in depth: refuse any other spelling of a provider's host.
    spelled = _connect_to(rf"(?i)(?:{names})\.*(?::[0-9]*)?")
    routes = [_forbidden("provider in another spelling", spelled)]
    if proxy.upstream_proxy is None:
        match = _connect_to(f"(?:{_NAME}|{_IPV4}){_PORT}")
        routes.append(_connect("tunnel", match, TUNNEL_CLUSTER, terminate=True))
    else:
        # The company's proxy dials, and only names leave it to decide where to.
        routes.append(_forbidden("this machine", _connect_to(_LOCALHOST)))
        match = _connect_to(f"{_NAME}{_PORT}")
        routes.append(_connect("tunnel", match, UPSTREAM_PROXY_CLUSTER, terminate=False))
    return [*routes, _forbidden("host or port", _connect_to()), no_connect]


def _connect(name: str, match: RouteMatch, cluster: str, *, terminate: bool) -> Route:
    """Return a route for CONNECT; one that is not terminated goes on to another proxy as it is."""
    upgrade = RouteActionUpgradeConfig(upgrade_type="CONNECT")
    if terminate:
        upgrade.connect_config = RouteActionUpgradeConfigConnectConfig()
    return Route(
        name=name,
        match=match,
        route=RouteAction(cluster=cluster, timeout=timedelta(0), upgrade_configs=[upgrade]),
    )


def _forbidden(name: str, match: RouteMatch) -> Route:
    return Route(
        name=f"forbidden: {name}",
        match=match,
        direct_response=DirectResponseAction(status=403),
    )


def _connect_to(authority: str | None = None) -> RouteMatch:
    """Match CONNECTs, to any target or to those of a pattern."""
    match = RouteMatch(connect_matcher=RouteMatchConnectMatcher())
    if authority is not None:
        is_target = StringMatcher(safe_regex=regex(authority))
        match.headers = [HeaderMatcher(name=":authority", string_match=is_target)]
    return match


def _share_with_tunnel() -> HttpFilter:
    shared = FilterStateValueSharedWithUpstream.ONCE
    values = {PROXY_TOKEN_KEY: f"%REQ({GOVERNANCE})%", PROXY_SESSION_KEY: "%REQ(X-REQUEST-ID)%"}
    config = SetFilterState(
        on_request_headers=[
            FilterStateValue(
                object_key=key,
                # Hashed into the connection pool's key. With `envoy.string` Envoy would keep one
                # pool for all users, whose connections bear the token of the first.
                factory_key="envoy.hashable_string",
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


def _forget_headers() -> HttpFilter:
    # A CONNECT needs only its target. The company's proxy must not get a header of the client, and
    # above all no token.
    every = StringMatcher(safe_regex=regex("[^:].*"))
    mutation = Mutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=every))
    return HttpFilter(
        name="authz.forget_headers",
        typed_config=packed(HeaderMutation(mutations=Mutations(request_mutations=[mutation]))),
    )
