"""Send one HTTP request to a process of the pair on this machine."""

import contextlib
import http.client
import socket
import ssl
from dataclasses import dataclass

from authz.addresses import Address, UnixAddress

TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The status and body of a response."""

    status: int
    text: str


def send_request(
    method: str,
    address: Address,
    path: str,
    *,
    tls: bool = False,
    timeout: float = TIMEOUT_SECONDS,
) -> HttpResponse:
    """Send a request without a body, on a connection of its own.

    Args:
        method: the HTTP method.
        address: a TCP address or a Unix socket.
        path: the path and query.
        tls: use TLS. The certificate is not verified: the peer is a process of this pair, and the
            request has no secret.
        timeout: seconds to wait for each step.

    Raises:
        OSError: there is no response.
    """
    with contextlib.closing(_connection(address, timeout, tls=tls)) as connection:
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return HttpResponse(response.status, response.read().decode("utf-8", "replace"))
        except http.client.HTTPException as error:
            raise OSError(f"{address}: no HTTP response: {type(error).__name__}") from None


def _connection(address: Address, timeout: float, *, tls: bool) -> http.client.HTTPConnection:
    if isinstance(address, UnixAddress):
        return _UnixConnection(address.path, timeout)
    host, port = address.host, address.port
    if not tls:
        return http.client.HTTPConnection(host, port, timeout=timeout)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
