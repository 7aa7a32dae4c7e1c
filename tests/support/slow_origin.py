"""A provider that answers slowly or not at all, as a request's header ``x-behave`` says."""

import json
import socket
import struct
import threading

from tests.support.origin import Origin

PAUSE_SECONDS = 0.25
"""Seconds between two events of a stream that is not silent."""
_START = {"model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}, "content": []}
_ANTHROPIC = {
    "type": "message_start",
    "message": {"id": "msg_1", "type": "message", "role": "assistant", **_START},
}
_OPENAI = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}],
}


class SlowOrigin(Origin):
    """Receives the whole request, then behaves as it says.

    ``silent`` sends nothing, ``stall`` begins a stream and goes on with nothing, ``stream N`` sends
    N events, ``reset`` resets the connection, ``status N`` answers with a status; without the
    header it answers 200. A WebSocket is opened and stays silent.

    Attributes:
        ended: is set when a connection ends on which a request came.
    """

    def __init__(self, name: str = "{}") -> None:
        super().__init__(name)
        self.ended = threading.Event()

    def _answer(self, connection: socket.socket, data: bytes) -> bytes:
        head, found, rest = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        if not found or not _is_whole(headers, rest):
            return data
        self.heads.append(head)
        behaviour, _, number = headers.get(b"x-behave", b"status 200").decode().partition(" ")
        if headers.get(b"upgrade") == b"websocket" and behaviour == "status":
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
                b"connection: upgrade\r\n\r\n"
            )
        elif behaviour == "status":
            size = len(self._body)
            start = f"HTTP/1.1 {number} Status\r\ncontent-type: application/json\r\n"
            connection.sendall(f"{start}content-length: {size}\r\n\r\n".encode() + self._body)
        elif behaviour == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        elif behaviour in ("stall", "stream"):
            self._stream(connection, lines[0], int(number or 1))
            if behaviour == "stream":
                connection.sendall(b"0\r\n\r\n")
        if behaviour in ("silent", "stall"):
            connection.settimeout(60)
            while connection.recv(65_536):
                pass
            self.ended.set()
        return b""

    def _stream(self, connection: socket.socket, request: bytes, count: int) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
            b"\r\n"
        )
        event = b"data: %b\n\n" % json.dumps(_OPENAI).encode()
        if b"/messages" in request:
            event = b"event: message_start\ndata: %b\n\n" % json.dumps(_ANTHROPIC).encode()
        for number in range(count):
            if number:
                threading.Event().wait(PAUSE_SECONDS)
            connection.sendall(b"%x\r\n%b\r\n" % (len(event), event))


def _is_whole(headers: dict[bytes, bytes], body: bytes) -> bool:
    if headers.get(b"transfer-encoding") == b"chunked":
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(headers.get(b"content-length", b"0"))
