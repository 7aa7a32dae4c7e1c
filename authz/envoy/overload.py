"""Envoy's limits on load: it first refuses requests, then connections, and does not crash."""

from envoy_data_plane.envoy.config.overload.v3 import (
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ThresholdTrigger,
    Trigger,
)
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import (
    DownstreamConnectionsConfig,
)
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap.v3 import FixedHeapConfig

from authz.config.settings import Config
from authz.envoy.packing import packed

_HEAP = "envoy.resource_monitors.fixed_heap"
_ACTIONS = {
    "envoy.overload_actions.shrink_heap": 0.85,
    "envoy.overload_actions.disable_http_keepalive": 0.90,
    # Those that stream go on; a new one gets 503 at once.
    "envoy.overload_actions.stop_accepting_requests": 0.95,
    "envoy.overload_actions.stop_accepting_connections": 0.98,
}
"""Each action and the part of the heap at which it begins, after Envoy's guide for edge proxies."""
_MIB = 1 << 20


def overload_manager(config: Config) -> OverloadManager:
    """Return the limits on connections and on memory."""
    return OverloadManager(
        resource_monitors=[
            ResourceMonitor(
                name=_HEAP,
                typed_config=packed(
                    FixedHeapConfig(max_heap_size_bytes=config.envoy.max_heap_mib * _MIB)
                ),
            ),
            ResourceMonitor(
                name="envoy.resource_monitors.global_downstream_max_connections",
                typed_config=packed(
                    DownstreamConnectionsConfig(
                        max_active_downstream_connections=config.envoy.max_connections
                    )
                ),
            ),
        ],
        actions=[
            OverloadAction(
                name=name,
                triggers=[Trigger(name=_HEAP, threshold=ThresholdTrigger(value=value))],
            )
            for name, value in _ACTIONS.items()
        ],
    )
