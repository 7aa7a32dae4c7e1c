"""Envoy's admin interface, as far as a graceful stop needs it."""

import http.client
import json
import socket

from authz.addresses import Address, UnixAddress

_TIMEOUT_SECONDS = 2.0


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
        text = self._request("GET", "/stats?format=json&filter=downstream_rq_active$")
        stats = json.loads(text)["stats"]
        # An idle tunnel would hold up a stop to its bound; what goes through an intercepted one is
        # counted where it ends.
        left_out = ("http.admin.", "http.proxy.")
        return sum(stat["value"] for stat in stats if not stat["name"].startswith(left_out))

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
