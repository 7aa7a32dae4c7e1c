"""Configurations between a naked Envoy and the rendered one, all as listeners of one Envoy.

Each step has one thing of the rendered configuration more than the step before.
"""

from copy import deepcopy
from typing import Any

from bench.message import STREAMING
from tests.support.ports import free_port

Values = dict[str, Any]

_OWN_STEP = ("http_filters", "route_config", "access_log")
_LIMIT = "per_connection_buffer_limit_bytes"
_ROUTER = "envoy.filters.http.router"

NAKED = "a naked Envoy"
RENDERED = "+ both access logs: as rendered"
"""Titles of the first step and of the last."""


class Steps:
    """The steps, as further listeners of the Envoy that has the rendered configuration.

    Args:
        naked: the configuration of ``bench.naked``.
        rendered: the rendered one, whose provider has the name ``message.STREAMING``.

    Attributes:
        values: the rendered configuration with these listeners.
        ports: of the listener of each step, by title.
    """

    def __init__(self, naked: Values, rendered: Values) -> None:
        self.values = deepcopy(rendered)
        self.ports: dict[str, int] = {}
        self._listeners = self.values["static_resources"]["listeners"]
        self._current = deepcopy(_listener(naked))
        whole, full = _listener(rendered), _cluster(rendered, f"provider_{STREAMING}")
        # The same protocol and TLS as the rendered cluster, and nothing else of it.
        names = ("typed_extension_protocol_options", "transport_socket")
        plain = _cluster(naked, STREAMING) | {name: full[name] for name in names if name in full}
        limited = plain | {"name": "limited", _LIMIT: full[_LIMIT]}
        self.values["static_resources"]["clusters"] += [plain, limited]
        self._send_to(STREAMING)
        self._add(NAKED)
        self._current[_LIMIT] = whole[_LIMIT]
        self._send_to("limited")
        self._add("+ buffer limits of connections")
        self._send_to(full["name"])
        self._add("+ the provider's cluster")
        self._add_manager(_manager(whole))

    def _add(self, title: str) -> None:
        listener = deepcopy(self._current)
        self.ports[title] = free_port()
        listener["name"] = f"step-{len(self._listeners)}"
        listener["address"]["socket_address"]["port_value"] = self.ports[title]
        self._listeners.append(listener)

    def _send_to(self, cluster: str) -> None:
        for host in _manager(self._current)["route_config"]["virtual_hosts"]:
            for route in host["routes"]:
                route["route"]["cluster"] = cluster

    def _add_manager(self, whole: Values) -> None:
        manager = _manager(self._current)
        manager |= {name: value for name, value in whole.items() if name not in _OWN_STEP}
        self._add("+ options of the connection manager")
        filters = whole["http_filters"]
        router = next(one for one in filters if one["name"] == _ROUTER)
        manager["route_config"], manager["http_filters"] = whole["route_config"], [router]
        self._add("+ the routes")
        for one in filters:
            if one is not router:
                manager["http_filters"] = [*manager["http_filters"][:-1], one, router]
                self._add(f"+ {one['name'].removeprefix('envoy.filters.http.')}")
        manager["access_log"] = whole["access_log"]
        self._add(RENDERED)


def _manager(listener: Values) -> Values:
    manager: Values = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def _listener(values: Values) -> Values:
    found: Values = next(
        one for one in values["static_resources"]["listeners"] if one["name"] == "gateway"
    )
    return found


def _cluster(values: Values, name: str) -> Values:
    found: Values = next(
        one for one in values["static_resources"]["clusters"] if one["name"] == name
    )
    return found
