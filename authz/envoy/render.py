"""The whole Envoy configuration, as text that a person can read."""

from typing import Any

import betterproto2
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
)
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.extensions.bootstrap.internal_listener.v3 import InternalListener

from authz.config.settings import Config
from authz.envoy.authz_clusters import authz_clusters
from authz.envoy.clusters import clusters, has_upstream_proxy
from authz.envoy.collector import collector_cluster, telemetry_cluster
from authz.envoy.cors import nowhere_cluster
from authz.envoy.egress import egress_listeners
from authz.envoy.intercept import intercept_clusters, intercept_listeners
from authz.envoy.layout import to_yaml
from authz.envoy.listener import gateway_listener
from authz.envoy.metrics import admin_cluster, metrics_listener
from authz.envoy.overload import overload_manager
from authz.envoy.packing import envoy_address, extension, struct
from authz.envoy.proxy import proxy_listener
from authz.envoy.tunnels import tunnel_clusters

_HEADER = """\
# Envoy's configuration for gateway.yaml, written by `authz envoy render`. Don't edit: render again.
# No secret is in here: provider keys reach Envoy with authz's answer to each request.
"""

_WITH_MARK = """\
# Keep this file private: with the value of `routes` another gateway can pass for this one.
"""

_RUNTIME = {
    # Instructions in a compiled pattern, of which 100 hold two or three paths of a provider. RE2
    # takes time in proportion to the path alone.
    "re2.max_program_size.error_level": 10_000,
}


def bootstrap(config: Config) -> Bootstrap:
    """Build the configuration as a typed object."""
    listeners, cluster_list = (
        [gateway_listener(config)],
        [*authz_clusters(config), *clusters(config)],
    )
    extensions = []
    if config.envoy.metrics is not None:
        listeners.append(metrics_listener(config.envoy.metrics))
        cluster_list.append(admin_cluster(config))
    if config.tracing is not None:
        cluster_list.append(collector_cluster(config.tracing))
    if config.claude_code_providers and config.sign_in.claude_code.telemetry is not None:
        cluster_list.append(telemetry_cluster(config.sign_in.claude_code.telemetry))
    if config.cors is not None:
        cluster_list.append(nowhere_cluster())
    if config.proxy is not None:
        listeners += [proxy_listener(config, config.proxy), *intercept_listeners(config)]
        cluster_list += [*intercept_clusters(config), *tunnel_clusters(config, config.proxy)]
        if has_upstream_proxy(config):
            listeners += egress_listeners(config)
        extensions.append(extension("envoy.bootstrap.internal_listener", InternalListener()))
    return Bootstrap(
        # Watched files (SDS) demand a name.
        node=Node(id="gateway", cluster="gateway"),
        admin=Admin(address=envoy_address(config.admin_address)),
        static_resources=BootstrapStaticResources(listeners=listeners, clusters=cluster_list),
        bootstrap_extensions=extensions,
        layered_runtime=LayeredRuntime(
            layers=[RuntimeLayer(name="limits", static_layer=struct(_RUNTIME))]
        ),
        overload_manager=overload_manager(config),
    )


def document(config: Config) -> dict[str, Any]:
    """Return the configuration as plain data."""
    values: dict[str, Any] = _readable(bootstrap(config).to_dict(casing=betterproto2.Casing.SNAKE))
    return values


_FIELDS = {"enforcing_consecutive_5_xx": "enforcing_consecutive_5xx"}
"""Envoy's names of fields that betterproto2 divides before ``xx``."""


def _readable(value: Any) -> Any:
    """Write an empty ``Any`` without its type, since Envoy reads no empty type."""
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if value == {"@type": ""}:
        return {}
    return {_FIELDS.get(key, key): _readable(inner) for key, inner in value.items()}


def render(config: Config) -> str:
    """Return the configuration as YAML."""
    marked = _WITH_MARK if config.external_gateways is not None else ""
    return _HEADER + marked + to_yaml(document(config))
