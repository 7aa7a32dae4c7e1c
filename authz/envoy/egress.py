"""Providers through the company's proxy: a CONNECT tunnel for each, made by Envoy."""

from envoy_data_plane.envoy.config.listener.v3 import (
    Filter,
    FilterChain,
    Listener,
    ListenerInternalListenerConfig,
)
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import (
    TcpProxy,
    TcpProxyTunnelingConfig,
)

from authz.config.settings import Config, Provider
from authz.envoy.packing import packed
from authz.envoy.provider_routes import provider_cluster
from authz.envoy.tunnels import UPSTREAM_PROXY_CLUSTER


def egress_listeners(config: Config) -> list[Listener]:
    """Return an internal listener for each provider, which its cluster connects to.

    The TLS to the provider runs inside the tunnel and ends at the provider: the company's proxy
    sees the host name and no more.
    """
    return [_listener(provider) for provider in config.providers]


def _listener(provider: Provider) -> Listener:
    url = provider.base_url
    host = f"[{url.host}]" if ":" in url.host else url.host
    tunnel = TcpProxy(
        stat_prefix=f"egress_{provider.name}",
        cluster=UPSTREAM_PROXY_CLUSTER,
        tunneling_config=TcpProxyTunnelingConfig(hostname=f"{host}:{url.port}"),
    )
    return Listener(
        name=provider_cluster(provider),
        internal_listener=ListenerInternalListenerConfig(),
        filter_chains=[
            FilterChain(
                filters=[
                    Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(tunnel))
                ]
            )
        ],
    )
