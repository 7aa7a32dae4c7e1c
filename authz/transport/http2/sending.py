"""Sends frames on a connection, within the peer's flow-control windows (RFC 9113 5.2)."""

from collections import OrderedDict

from authz.transport.http2 import frames, grpc
from authz.transport.http2.frames import ConnectionFailed, ErrorCode, StreamFailed
from authz.transport.http2.grpc import CallFailed, HttpError


class Sender:
    """Collects frames, and holds data back until a window has room for it.

    Attributes:
        held: bytes that wait for a window.
    """

    def __init__(self) -> None:
        self.held = 0
        self._frames: list[bytes] = []
        self._initial_window = frames.DEFAULT_WINDOW
        self._frame_size = frames.DEFAULT_FRAME_SIZE
        self._window = frames.DEFAULT_WINDOW
        self._windows: dict[int, int] = {}
        # The largest HPACK table that the peer takes this encoder to have, and what the next
        # header block must begin with.
        self._table_size = frames.DEFAULT_TABLE_SIZE
        self._table_update = b""
        # The first waits for the window of its stream, the second only for the connection's, in
        # turn. With two collections a window update costs no more than the data that it frees.
        self._blocked: dict[int, memoryview] = {}
        self._queued: OrderedDict[int, memoryview] = OrderedDict()

    @property
    def open_streams(self) -> int:
        """The number of calls whose response is not sent completely."""
        return len(self._windows)

    def is_open(self, stream: int) -> bool:
        """Return whether a part of the response to this call is still to be sent."""
        return stream in self._windows

    def write(self, data: bytes) -> None:
        """Send frames that are not subject to flow control."""
        self._frames.append(data)

    def take(self) -> bytes:
        """Return and clear the bytes that may be sent now."""
        if not self._frames:
            return b""
        data = b"".join(self._frames)
        self._frames.clear()
        return data

    def open(self, stream: int) -> None:
        """Begin a call, with the window of the peer's settings."""
        self._windows[stream] = self._initial_window

    def close(self, stream: int) -> None:
        """End a call and drop its held data."""
        self._windows.pop(stream, None)
        data = self._blocked.pop(stream, None) or self._queued.pop(stream, None)
        if data is not None:
            self.held -= len(data)

    def respond_at_once(self, stream: int, message: bytes) -> bool:
        """Send the whole response of a call that ``open`` was not called for.

        Returns:
            False if the windows have no room for it now, and nothing has been sent.
        """
        size = len(message) + grpc.PREFIX_LENGTH
        if (
            size > self._window
            or size > self._initial_window
            or size > self._frame_size
            or self._table_update
        ):
            return False
        self._window -= size
        self._frames.append(grpc.whole_response(stream, size, grpc.prefix(len(message)), message))
        return True

    def respond(self, stream: int, data: bytes) -> None:
        """Send a whole response: headers, data, trailers."""
        size = len(data)
        if (
            size <= self._window
            and size <= self._windows[stream]
            and size <= self._frame_size
            and not self._table_update
        ):
            self._window -= size
            self._frames.append(grpc.whole_response(stream, size, data))
            del self._windows[stream]
            return
        self._frames.append(grpc.response_headers(stream, self._take_table_update()))
        self.held += size
        self._queued[stream] = memoryview(data)
        self._pump()

    def begin(self, stream: int) -> None:
        """Send the headers of a response whose messages follow with ``send``."""
        self._frames.append(grpc.response_headers(stream, self._take_table_update()))

    def send(self, stream: int, data: bytes) -> bool:
        """Send one message of a response that ``begin`` began, if the windows have room for it.

        Such messages are short and few, so none is held back.
        """
        size = len(data)
        if size > min(self._window, self._windows[stream], self._frame_size):
            return False
        self._window -= size
        self._windows[stream] -= size
        self._frames.append(frames.frame(frames.DATA, 0, stream, data))
        return True

    def end(self, stream: int, error: CallFailed | None = None) -> None:
        """End a response that ``begin`` began, with an error if there is one."""
        self.close(stream)
        update = self._take_table_update()
        if error is None:
            self._frames.append(grpc.ok_trailers(stream, update))
        else:
            self._frames.append(grpc.error_trailers(stream, error, update))

    def fail(self, stream: int, error: CallFailed | HttpError) -> None:
        """Send the whole response of a call that failed, and drop its held data."""
        self.close(stream)
        update = self._take_table_update()
        if isinstance(error, HttpError):
            self._frames.append(grpc.http_error(stream, error, update))
        else:
            self._frames.append(grpc.failure(stream, error, update))

    def shrink_table(self, settings: dict[int, int]) -> None:
        """Apply the peer's limit for HPACK's table; call this after the settings' ACK is written.

        The first header block after the ACK must begin with an update if the table has become
        smaller (RFC 7541 4.2). A peer such as Envoy ends the connection otherwise. The update is to
        0, which is within every later limit.
        """
        size = settings.get(frames.SETTINGS_HEADER_TABLE_SIZE, self._table_size)
        if size < self._table_size:
            self._table_size = 0
            self._table_update = grpc.TABLE_SIZE_UPDATE

    def _take_table_update(self) -> bytes:
        update, self._table_update = self._table_update, b""
        return update

    def apply(self, settings: dict[int, int]) -> None:
        """Apply the peer's settings.

        Raises:
            ConnectionFailed: a window would become too large.
        """
        self._frame_size = settings.get(frames.SETTINGS_MAX_FRAME_SIZE, self._frame_size)
        initial = settings.get(frames.SETTINGS_INITIAL_WINDOW_SIZE, self._initial_window)
        change, self._initial_window = initial - self._initial_window, initial
        if not change:
            return
        for stream, window in self._windows.items():
            if window + change > frames.MAX_WINDOW:
                raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "window too large")
            self._windows[stream] = window + change
        for stream in [stream for stream in self._blocked if self._windows[stream] > 0]:
            self._queued[stream] = self._blocked.pop(stream)
        self._pump()

    def widen(self, stream: int, increment: int) -> None:
        """Apply a window update; stream 0 is the connection.

        Raises:
            ConnectionFailed: the connection's window would become too large.
            StreamFailed: the stream's window would become too large.
        """
        if stream == 0:
            self._window += increment
            if self._window > frames.MAX_WINDOW:
                raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "window too large")
        elif stream in self._windows:
            window = self._windows[stream] = self._windows[stream] + increment
            if window > frames.MAX_WINDOW:
                raise StreamFailed(stream, ErrorCode.FLOW_CONTROL_ERROR, "window too large")
            if window > 0 and stream in self._blocked:
                self._queued[stream] = self._blocked.pop(stream)
        if self._queued:
            self._pump()

    def _pump(self) -> None:
        while self._queued and self._window > 0:
            stream, data = self._queued.popitem(last=False)
            room = min(self._window, self._windows[stream], self._frame_size)
            if room <= 0:
                self._blocked[stream] = data
                continue
            part, rest = data[:room], data[room:]
            self.held -= len(part)
            self._window -= len(part)
            self._windows[stream] -= len(part)
            self._frames.append(frames.frame(frames.DATA, 0, stream, bytes(part)))
            if rest:
                self._queued[stream] = rest
            else:
                self._frames.append(grpc.ok_trailers(stream, self._take_table_update()))
                del self._windows[stream]
