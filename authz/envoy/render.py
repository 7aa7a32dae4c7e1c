"""The whole Envoy configuration, as text that a person can read."""

from typing import Any

import betterproto2
import yaml
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapStaticResources,
)
from envoy_data_plane.envoy.config.overload.v3 import OverloadManager, ResourceMonitor
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import (
    DownstreamConnectionsConfig,
)

from authz.envoy.clusters import clusters
from authz.envoy.listener import gateway_listener
from authz.envoy.packing import envoy_address, packed
from authz.settings import Config

_HEADER = """\
# Envoy's configuration for gateway.yaml, written by `authz envoy render`. Don't edit: render again.
# No secret is in here: provider keys reach Envoy with authz's answer to each request.
"""


def bootstrap(config: Config) -> Bootstrap:
    """Build the configuration as a typed object."""
    return Bootstrap(
        admin=Admin(address=envoy_address(config.admin_address)),
        static_resources=BootstrapStaticResources(
            listeners=[gateway_listener(config)],
            clusters=clusters(config),
        ),
        overload_manager=OverloadManager(
            resource_monitors=[
                ResourceMonitor(
                    name="envoy.resource_monitors.global_downstream_max_connections",
                    typed_config=packed(
                        DownstreamConnectionsConfig(
                            max_active_downstream_connections=config.envoy.max_connections
                        )
                    ),
                )
            ]
        ),
    )


def render(config: Config) -> str:
    """Return the configuration as YAML."""
    values: dict[str, Any] = bootstrap(config).to_dict(casing=betterproto2.Casing.SNAKE)
    return _HEADER + yaml.dump(values, Dumper=_Dumper, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, as people write YAML."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True
