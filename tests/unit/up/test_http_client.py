"""authz.up.http_client: one client for a Unix socket, TCP and TLS."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.addresses import Address, TcpAddress, UnixAddress
from authz.up.admin import AdminClient
from authz.up.http_client import send_request
from tests.support.certificates import Authority
from tests.support.ports import free_port

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@contextlib.contextmanager
def _server(listener: socket.socket, response: bytes) -> Iterator[list[bytes]]:
    """Respond to each connection with the same bytes, and yield the requests."""
    received: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                with connection:
                    received.append(connection.recv(65_536))
                    connection.sendall(response)
            except ssl.SSLError:
                continue
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    with listener:
        thread.start()
        yield received
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(20)


@pytest.fixture(params=["unix", "tcp"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Address, socket.socket]:
    """An address of each kind, and its listener."""
    if request.param == "unix":
        path = str(tmp_path / "s")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        return UnixAddress(path), listener
    listener = socket.create_server(("127.0.0.1", 0))
    return TcpAddress("127.0.0.1", listener.getsockname()[1]), listener


def test_a_response(listening: tuple[Address, socket.socket]) -> None:
    """The status and body come back, and the method and path are sent."""
    address, listener = listening
    with _server(listener, OK) as received:
        response = send_request("POST", address, "/drain?x=1")
        assert (response.status, response.text) == (200, "ok")
        assert received[0].startswith(b"POST /drain?x=1 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "response", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"]
)
def test_no_response_is_an_os_error(
    listening: tuple[Address, socket.socket], response: bytes
) -> None:
    """A peer that closes or does not speak HTTP raises the error that callers expect."""
    address, listener = listening
    with _server(listener, response), pytest.raises(OSError, match=r".+"):
        send_request("GET", address, "/")


def test_no_listener_is_an_os_error(tmp_path: Path) -> None:
    """An address without a listener raises OSError."""
    for address in (UnixAddress(str(tmp_path / "none")), TcpAddress("127.0.0.1", free_port())):
        with pytest.raises(OSError, match=r".+"):
            send_request("GET", address, "/")


def test_tls(tmp_path: Path) -> None:
    """With ``tls`` any certificate is accepted, since the peer is a process of the pair."""
    cert_file, key_file = Authority(tmp_path, "ca").issue("elsewhere.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    address = TcpAddress("127.0.0.1", listener.getsockname()[1])
    with _server(listener, OK):
        assert send_request("GET", address, "/", tls=True).text == "ok"


def test_an_error_of_the_admin_interface_is_an_os_error() -> None:
    """The admin client raises for any status but 200, and names the path."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = TcpAddress("127.0.0.1", listener.getsockname()[1])
    error = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
    with _server(listener, error), pytest.raises(OSError, match="returned 503 for /x"):
        AdminClient(address).get("/x")
