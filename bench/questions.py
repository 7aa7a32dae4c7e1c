"""Messages of Envoy for the benchmarks inside authz's process: checks, records, HTTP/2 frames."""

import asyncio
import struct
from collections.abc import Sequence

import hpack

from authz.check.entry_ids import EntryIds
from authz.check.ext_authz import METHOD
from authz.pb import ext_authz_pb2 as pb
from authz.pb import otlp_logs_pb2 as logs
from authz.transport.http2 import frames
from authz.transport.http2.connection import Connection
from authz.usage.names import RECORD_LINES, REQUEST_LINES
from bench.message import request

BASE_URL = "https://api.anthropic.com/"
_REQUEST_ID = "8a2c1b1a-1111-4111-8111-%012d"
_HEAD = (
    *((":method", "POST"), (":scheme", "http"), (":authority", "authz")),
    *(("te", "trailers"), ("content-type", "application/grpc"), ("grpc-timeout", "2000m")),
)
_FACTS = (
    '["allow",null,"bench","0b9d9f3e-0000-4000-8000-000000000001","Abcdefghi1","laptop",'
    '"anthropic","centralized",null]'
)
_TOKENS = (
    'llm_protocol: ANTHROPIC_MESSAGES model: "claude-sonnet-4-5" input_tokens { value: %d } '
    "output_tokens { value: %d } total_tokens { value: %d } extraction_status: COMPLETE "
)
_RECORD = {
    **{"facts": _FACTS, "status": "200", "flags": "-", "details": "via_upstream"},
    **{"proxy_session": "-", "content_encoding": "-"},
}


def check_question(token: str, number: int = 1) -> bytes:
    """Return the question that Envoy asks about the benchmark's request.

    Args:
        token: of the request.
        number: the end of Envoy's id of the request.
    """
    asked = pb.CheckRequest()
    http = asked.attributes.request.http
    http.method, http.path = "POST", "/anthropic/v1/messages"
    head = request(token).decode().partition("\r\n\r\n")[0].split("\r\n")[1:]
    headers = [(":method", "POST"), (":path", http.path), ("x-forwarded-proto", "http")]
    headers += [(name.lower(), value) for name, _, value in (line.partition(": ") for line in head)]
    headers.append(("x-request-id", _REQUEST_ID % number))
    for name, value in headers:
        field = pb.HeaderValue(key=name, raw_value=value.encode())
        http.header_map.headers.append(field.SerializeToString())
    facts = {"provider": "anthropic", "base_url": BASE_URL, "supported": "true"}
    for name, value in facts.items():
        fact = pb.ContextExtension(key=name, value=value)
        asked.attributes.context_extensions.append(fact.SerializeToString())
    return asked.SerializeToString()


def usage_records(ids: EntryIds, count: int) -> bytes:
    """Return a message of Envoy's OpenTelemetry access logger with records of usual requests."""
    message = logs.ExportLogsServiceRequest()
    scope = message.resource_logs.add().scope_logs.add()
    for number in range(count):
        read, wrote = 1_000 + 7 * (ids.issued + 1), 100 + 13 * number
        values = _RECORD | {
            "entry": ids.next().decode(),
            "duration_ms": str(900 + 37 * number % 800),
            "request_id": _REQUEST_ID % ids.issued,
            "tokens": _TOKENS % (read, wrote, read + wrote),
        }
        record = scope.log_records.add(time_unix_nano=1_790_000_000_123_456_789)
        lines = (REQUEST_LINES, *(values[name] for name in RECORD_LINES))
        record.body.string_value = "\n".join(lines).encode()
    return message.SerializeToString()


class Calls:
    """Makes Envoy's bytes of the calls on one connection."""

    def __init__(self) -> None:
        self._encoder = hpack.Encoder()
        self._stream = -1

    def make(self, messages: Sequence[bytes], method: str = METHOD) -> bytes:
        """Return the frames of calls with these messages, as one read may have them."""
        parts = []
        for message in messages:
            self._stream += 2
            block = self._encoder.encode((*_HEAD[:2], (":path", method), *_HEAD[2:]))
            data = struct.pack(">BL", 0, len(message)) + message
            parts.append(frames.frame(frames.HEADERS, frames.END_HEADERS, self._stream, block))
            parts.append(frames.frame(frames.DATA, frames.END_STREAM, self._stream, data))
        return b"".join(parts)


class Nowhere(asyncio.Transport):
    """A transport whose peer is always ready to read.

    Attributes:
        written: the bytes of the last write.
    """

    written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the bytes."""
        self.written = bytes(data)

    def is_closing(self) -> bool:
        """Return False: the peer never leaves."""
        return False

    def get_write_buffer_size(self) -> int:
        """Return 0: nothing waits."""
        return 0


def begin(connection: Connection) -> Nowhere:
    """Begin a connection as Envoy does, with windows for all responses; return its transport."""
    transport = Nowhere()
    connection.connection_made(transport)
    connection.data_received(frames.PREFACE + frames.settings({}))
    connection.data_received(frames.window_update(0, 1 << 30))
    return transport
