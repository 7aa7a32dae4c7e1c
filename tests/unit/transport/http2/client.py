"""The h2 library as a client of a connection without a network."""

import h2.config
import h2.connection
import h2.events

from authz.transport.common import Methods
from tests.unit.transport.http2.wire import ECHO, Response, Wire, message, request_fields


class Client:
    """The h2 library as the client of a wire of its own.

    Args:
        methods: instead of those of ``Handlers``.
    """

    def __init__(self, methods: Methods | None = None) -> None:
        self.wire = Wire(opening=b"", methods=methods)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.answers: dict[int, Response] = {}
        self.ended_by: int | None = None
        self.exchange()

    def open(self, path: str = ECHO, body: bytes | None = None, *, ended: bool = True) -> int:
        """Begin a call, with its body as far as the windows allow; return its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, request_fields(path))
        self.answers[stream] = Response()
        self.exchange()
        body = message(b"hello") if body is None else body
        size = self.h2.max_outbound_frame_size
        while len(body) > size:
            self.h2.send_data(stream, body[:size])
            body = body[size:]
        self.h2.send_data(stream, body, end_stream=ended)
        self.exchange()
        return stream

    def exchange(self) -> None:
        """Pass bytes both ways until neither side has any left."""
        while True:
            sent = self.h2.data_to_send()
            if sent:
                self.wire.send(sent)
            written, self.wire.transport.written = self.wire.transport.written, bytearray()
            if not written and not sent:
                return
            for event in self.h2.receive_data(bytes(written)):
                self._on(event)

    def _on(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.answers[event.stream_id].fields |= {
                str(name): str(value) for name, value in event.headers
            }
        elif isinstance(event, h2.events.DataReceived):
            self.answers[event.stream_id].body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.answers[event.stream_id].ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.answers[event.stream_id].reset = int(event.error_code)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.ended_by = int(event.error_code or 0)
