"""Envoy's admin interface, as far as a graceful stop and a reload need it."""

import http.client
import json
import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from authz.addresses import Address, UnixAddress

_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Update:
    """How far Envoy is with a watched file.

    Attributes:
        version: of what it has taken.
        refused: how often what it read was not right.
    """

    version: str
    refused: int


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Admin:
    """A client of one Envoy's admin interface.

    Args:
        address: where it listens.
    """

    def __init__(self, address: Address) -> None:
        self._address = address

    def drain(self) -> None:
        """Let open requests finish and take no new connections.

        Raises:
            OSError: Envoy does not answer.
        """
        # Answers from now on carry `Connection: close` (GOAWAY in HTTP/2).
        self._request("POST", "/healthcheck/fail")
        self._request("POST", "/drain_listeners")

    def active_requests(self) -> int:
        """Return the number of client requests that are being served.

        Raises:
            OSError: Envoy does not answer.
        """
        stats = self._stats("downstream_rq_active$")
        # An idle tunnel would hold up a stop to its bound; what goes through an intercepted one is
        # counted where it ends.
        left_out = ("http.admin.", "http.proxy.")
        return sum(value for name, value in stats.items() if not name.startswith(left_out))

    def update_of(self, name: str) -> Update:
        """Return how far Envoy is with the watched file of this name in its statistics.

        Raises:
            OSError: Envoy does not answer.
        """
        stats = self._stats(rf"^{re.escape(name)}\.(version_text|update_rejected|update_failure)$")
        return Update(
            version=stats.get(f"{name}.version_text", ""),
            refused=stats.get(f"{name}.update_rejected", 0)
            + stats.get(f"{name}.update_failure", 0),
        )

    def warming_clusters(self) -> int:
        """Return the number of clusters that have no address yet.

        Raises:
            OSError: Envoy does not answer.
        """
        return self.gauge("cluster_manager.warming_clusters")

    def gauge(self, name: str) -> int:
        """Return one statistic; 0 where there is none of the name.

        Raises:
            OSError: Envoy does not answer.
        """
        value: int = self._stats(f"^{re.escape(name)}$").get(name, 0)
        return value

    def _stats(self, pattern: str) -> dict[str, Any]:
        text = self._request("GET", f"/stats?format=json&filter={quote(pattern)}")
        return {stat["name"]: stat["value"] for stat in json.loads(text)["stats"] if "name" in stat}

    def _request(self, method: str, path: str) -> str:
        connection = (
            _UnixConnection(self._address.path)
            if isinstance(self._address, UnixAddress)
            else http.client.HTTPConnection(
                self._address.host, self._address.port, timeout=_TIMEOUT_SECONDS
            )
        )
        try:
            connection.request(method, path)
            response = connection.getresponse()
            text = response.read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"Envoy's admin interface: {type(error).__name__}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise OSError(f"Envoy's admin interface answers {response.status} to {path}")
        return text
