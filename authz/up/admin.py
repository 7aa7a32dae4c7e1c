"""Control Envoy through its admin interface, for a graceful stop and a reload."""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from authz.addresses import Address
from authz.up.http_client import TIMEOUT_SECONDS, send_request


@dataclass(frozen=True, slots=True)
class Subscription:
    """The state of a watched file in Envoy.

    Attributes:
        version: the version that Envoy uses.
        rejections: number of versions that Envoy could not read or rejected.
    """

    version: str
    rejections: int


class AdminClient:
    """A client for the admin interface of one Envoy.

    Args:
        address: the address of the interface.
        timeout: seconds to wait for a response.
    """

    def __init__(self, address: Address, timeout: float = TIMEOUT_SECONDS) -> None:
        self._address = address
        self._timeout = timeout

    def get(self, path: str) -> str:
        """Return the body of a GET.

        Raises:
            OSError: Envoy does not respond, or responds with an error.
        """
        return self._request("GET", path)

    def drain(self) -> None:
        """Stop accepting connections, and let open requests finish.

        Raises:
            OSError: Envoy does not respond.
        """
        # From now on, responses have `Connection: close`, or GOAWAY in HTTP/2.
        self._request("POST", "/healthcheck/fail")
        self._request("POST", "/drain_listeners")

    def active_requests(self) -> int:
        """Return the number of client requests in progress.

        Raises:
            OSError: Envoy does not respond.
        """
        stats = self._stats("downstream_rq_active$")
        # An idle tunnel would delay a stop until the drain timeout. Requests inside an intercepted
        # tunnel are counted at the listener that ends it.
        ignored = ("http.admin.", "http.proxy.")
        return sum(value for name, value in stats.items() if not name.startswith(ignored))

    def subscription(self, name: str) -> Subscription:
        """Return the state of a watched file.

        Args:
            name: the prefix of its statistics.

        Raises:
            OSError: Envoy does not respond.
        """
        stats = self._stats(rf"^{re.escape(name)}\.(version_text|update_rejected|update_failure)$")
        return Subscription(
            version=stats.get(f"{name}.version_text", ""),
            rejections=stats.get(f"{name}.update_rejected", 0)
            + stats.get(f"{name}.update_failure", 0),
        )

    def warming_clusters(self) -> int:
        """Return the number of clusters that have no address yet.

        Raises:
            OSError: Envoy does not respond.
        """
        return self.gauge("cluster_manager.warming_clusters")

    def gauge(self, name: str) -> int:
        """Return the value of a statistic, or 0 if Envoy does not have it.

        Raises:
            OSError: Envoy does not respond.
        """
        value: int = self._stats(f"^{re.escape(name)}$").get(name, 0)
        return value

    def _stats(self, pattern: str) -> dict[str, Any]:
        text = self.get(f"/stats?format=json&filter={quote(pattern)}")
        return {stat["name"]: stat["value"] for stat in json.loads(text)["stats"] if "name" in stat}

    def _request(self, method: str, path: str) -> str:
        response = send_request(method, self._address, path, timeout=self._timeout)
        if response.status != 200:
            raise OSError(f"Envoy's admin interface returned {response.status} for {path}")
        return response.text
