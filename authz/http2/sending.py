"""What goes out on a connection, within the peer's flow-control windows (RFC 9113 5.2)."""

from authz.http2 import frames, grpc
from authz.http2.frames import ConnectionFailed, ErrorCode


class Sender:
    """Collects frames; data that no window has room for is held until one has."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._initial_window = frames.DEFAULT_WINDOW
        self._frame_size = frames.DEFAULT_FRAME_SIZE
        self._window = frames.DEFAULT_WINDOW
        self._windows: dict[int, int] = {}
        self._held: dict[int, bytes] = {}

    @property
    def held(self) -> int:
        """Bytes that wait for a window."""
        return sum(map(len, self._held.values())) if self._held else 0

    def write(self, data: bytes) -> None:
        """Send frames that flow control does not concern."""
        self._frames.append(data)

    def take(self) -> bytes:
        """Return what may go out now."""
        if not self._frames:
            return b""
        data = b"".join(self._frames)
        self._frames.clear()
        return data

    def open(self, stream: int) -> None:
        """A call has begun, with the window that the peer's settings give it."""
        self._windows[stream] = self._initial_window

    def close(self, stream: int) -> None:
        """Forget a call; what was held for it is dropped."""
        self._windows.pop(stream, None)
        self._held.pop(stream, None)

    def respond(self, stream: int, data: bytes) -> None:
        """Send a whole response: headers, data, trailers."""
        self._frames.append(grpc.response_headers(stream))
        window = self._windows.get(stream, 0)
        size = len(data)
        if size <= self._window and size <= window and size <= self._frame_size:
            self._window -= size
            self._frames.append(frames.frame(frames.DATA, 0, stream, data))
            self._frames.append(grpc.ok_trailers(stream))
            self._windows.pop(stream, None)
            return
        self._held[stream] = data
        self._pump()

    def apply(self, settings: dict[int, int]) -> None:
        """Take the peer's settings.

        Raises:
            ConnectionFailed: they make a window too large.
        """
        self._frame_size = settings.get(frames.SETTINGS_MAX_FRAME_SIZE, self._frame_size)
        initial = settings.get(frames.SETTINGS_INITIAL_WINDOW_SIZE, self._initial_window)
        change, self._initial_window = initial - self._initial_window, initial
        for stream, window in self._windows.items():
            self._windows[stream] = _within_limit(window + change)
        self._pump()

    def widen(self, stream: int, increment: int) -> None:
        """Take a window update; 0 is the connection.

        Raises:
            ConnectionFailed: the connection's window gets too large.
        """
        if stream == 0:
            self._window = _within_limit(self._window + increment)
        elif stream in self._windows:
            self._windows[stream] = _within_limit(self._windows[stream] + increment)
        if self._held:
            self._pump()

    def _pump(self) -> None:
        for stream in list(self._held):
            data = self._held.pop(stream)
            while data:
                room = min(self._window, self._windows[stream], self._frame_size)
                if room <= 0:
                    self._held[stream] = data
                    break
                part, data = data[:room], data[room:]
                self._window -= len(part)
                self._windows[stream] -= len(part)
                self._frames.append(frames.frame(frames.DATA, 0, stream, part))
            else:
                self._frames.append(grpc.ok_trailers(stream))
                self._windows.pop(stream, None)


def _within_limit(window: int) -> int:
    if window > frames.MAX_WINDOW:
        raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "window too large")
    return window
