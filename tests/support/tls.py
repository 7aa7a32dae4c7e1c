"""A client of the AI Gateway Proxy that sends CONNECT byte by byte, then speaks TLS inside."""

import base64
import socket
import ssl
from collections import defaultdict
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from cryptography import x509

from tests.support import raw
from tests.support.raw import Answer, Headers


def basic(password: str, user: str = "coder") -> str:
    """Write a value of Proxy-Authorization."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode("latin-1")).decode()


def credentials(token: str) -> Headers:
    """Return the header of a CONNECT that may pass."""
    return [("proxy-authorization", basic(token))]


def trusting(*ca_files: Path, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """Return a client's context that trusts these CAs and no others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for ca_file in ca_files:
        context.load_verify_locations(ca_file)
    context.set_alpn_protocols(list(alpn))
    return context


class Connect(raw.Connection):
    """A CONNECT and its tunnel.

    Args:
        port: the proxy's, on loopback.
        authority: the target.
        headers: ``Proxy-Authorization`` and others.
        early: bytes to send in the same segment, behind the CONNECT.
        listener: to speak TLS with the proxy itself.

    Attributes:
        connected: the proxy's answer.
    """

    def __init__(
        self,
        port: int,
        authority: str | bytes,
        headers: Headers = (),
        *,
        early: bytes = b"",
        version: str = "HTTP/1.1",
        host: str | None = "target.test",
        listener: ssl.SSLContext | None = None,
        timeout: float = raw.PATIENCE,
    ) -> None:
        super().__init__(port, timeout)
        if listener is not None:
            self._socket = listener.wrap_socket(self._socket, server_hostname="127.0.0.1")
        try:
            head = raw.request("CONNECT", authority, headers, version=version, host=host)
            self.send(head + early)
            self.connected = self._answer()
        except BaseException:
            self._socket.close()
            raise

    @property
    def status(self) -> int:
        """The status of the CONNECT."""
        return self.connected.status

    def start_tls(self, context: ssl.SSLContext, server_name: str | None) -> None:
        """Speak TLS from here on.

        Args:
            context: whom to trust.
            server_name: for SNI and the certificate's check; None sends no SNI.
        """
        assert self.status == 200, self.connected
        assert not self._buffer
        self._socket = context.wrap_socket(self._socket, server_hostname=server_name)

    @property
    def tls(self) -> ssl.SSLSocket:
        """The socket, with TLS on."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket

    def issuer(self) -> str:
        """Return the common name of the issuer of the peer's certificate."""
        certificate = self.tls.getpeercert(binary_form=True)
        assert certificate is not None
        parsed = x509.load_der_x509_certificate(certificate)
        names = parsed.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(names[0].value)

    def ask(self, data: bytes) -> Answer:
        """Send one request and read its answer."""
        self.send(data)
        return self.read()

    def receive(self) -> bytes:
        """Return the next bytes that come, or none at the end."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        try:
            return self._socket.recv(65_536)
        except ConnectionResetError:
            return b""

    def _answer(self) -> Answer:
        answer = self.read(head=True)
        if answer.status == 200:
            return answer
        length = int(dict(answer.headers).get("content-length", "0"))
        body = self._exactly(length)
        return Answer(answer.status, answer.headers, body, answer.whole + body)


class ConnectH2:
    """An HTTP/2 connection to a proxy with a TLS listener, for several CONNECTs.

    Args:
        port: the proxy's, on loopback.
        ca_file: whom to trust for the listener's certificate.
    """

    def __init__(self, port: int, ca_file: Path | None) -> None:
        assert ca_file is not None
        context = trusting(ca_file, alpn=("h2",))
        plain = socket.create_connection(("127.0.0.1", port), raw.PATIENCE)
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        assert self._socket.selected_alpn_protocol() == "h2"
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, header_encoding="latin-1"
        )
        self._connection = h2.connection.H2Connection(config)
        self._connection.initiate_connection()
        self._came: defaultdict[int, bytes] = defaultdict(bytes)
        self._ended: set[int] = set()

    def ask(self, headers: Headers) -> tuple[int, int]:
        """Send a request that stays open, and return its stream and the answer's status."""
        stream = self._connection.get_next_available_stream_id()
        self._connection.send_headers(stream, [(str(n), str(v)) for n, v in headers])
        while True:
            self._socket.sendall(self._connection.data_to_send())
            data = self._socket.recv(65_536)
            if not data:
                return stream, 0
            try:
                events = self._connection.receive_data(data)
            except h2.exceptions.ProtocolError:
                # A GOAWAY, and behind it an answer that h2 does not want to know of.
                return stream, 0
            self._take(events)
            for event in events:
                if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                    named = {str(name): str(value) for name, value in event.headers or ()}
                    return stream, int(named[":status"])
                if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    return stream, 0

    def exchange(self, stream: int, data: bytes) -> bytes:
        """Send data on an open stream and return received data; empty once the stream has ended."""
        if data:
            self._connection.send_data(stream, data)
        self._socket.sendall(self._connection.data_to_send())
        while not self._came[stream] and stream not in self._ended:
            received = self._socket.recv(65_536)
            if not received:
                return b""
            self._take(self._connection.receive_data(received))
            self._socket.sendall(self._connection.data_to_send())
        return self._came.pop(stream, b"")

    def _take(self, events: list[h2.events.Event]) -> None:
        """Store the data received for each stream, since several tunnels share the connection."""
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                size = event.flow_controlled_length or 0
                self._connection.acknowledge_received_data(size, event.stream_id)
                self._came[event.stream_id] += event.data or b""
            elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                self._ended.add(event.stream_id)

    def close(self) -> None:
        """Close."""
        self._socket.close()


def connect(port: int, authority: str | bytes, headers: Headers = (), **options: object) -> Answer:
    """Send a CONNECT and return the proxy's answer.

    Raises:
        Closed: the proxy closed instead.
    """
    with Connect(port, authority, headers, **options) as connection:  # type: ignore[arg-type]
        return connection.connected


def is_open(port: int) -> bool:
    """Return whether a port on loopback accepts connections."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
