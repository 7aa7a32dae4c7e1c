"""authz.transport.http2.sending: flow control of sent data."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.transport.http2 import frames
from authz.transport.http2.frames import ConnectionFailed, ErrorCode, StreamFailed
from authz.transport.http2.sending import Sender
from tests.unit.transport.http2.wire import responses, split

INITIAL = frames.SETTINGS_INITIAL_WINDOW_SIZE
STREAMS = (1, 3, 5, 7, 9, 11)

_steps = st.one_of(
    st.tuples(st.just("respond"), st.sampled_from(STREAMS), st.integers(1, 16_384)),
    st.tuples(st.just("respond"), st.sampled_from(STREAMS), st.integers(16_385, 90_000)),
    st.tuples(st.just("widen"), st.sampled_from((0, *STREAMS)), st.integers(1, 70_000)),
    st.tuples(st.just("initial"), st.just(0), st.integers(0, 100_000)),
    st.tuples(st.just("frame size"), st.just(0), st.integers(16_384, 80_000)),
    st.tuples(st.just("close"), st.sampled_from(STREAMS), st.just(0)),
)


class Model:
    """The peer's side: the windows as the peer counts them, and what it got."""

    def __init__(self) -> None:
        self.sender = Sender()
        self.initial = self.window = 65_535
        self.frame_size = 16_384
        self.windows = dict.fromkeys(STREAMS, self.initial)
        self.given: dict[int, bytes] = {}
        self.closed: set[int] = set()
        self.all = b""
        for stream in STREAMS:
            self.sender.open(stream)

    def step(self, what: str, stream: int, number: int) -> None:
        """Do one thing at both sides."""
        if what == "respond" and stream not in self.given and stream not in self.closed:
            self.given[stream] = bytes(n % 251 for n in range(number))
            self.sender.respond(stream, self.given[stream])
        elif what == "widen":
            if stream:
                self.windows[stream] += number
            else:
                self.window += number
            self.sender.widen(stream, number)
        elif what == "initial":
            for each in STREAMS:
                self.windows[each] += number - self.initial
            self.initial = number
            self.sender.apply({INITIAL: number})
        elif what == "frame size":
            self.frame_size = number
            self.sender.apply({frames.SETTINGS_MAX_FRAME_SIZE: number})
        elif what == "close":
            self.closed.add(stream)
            self.sender.close(stream)
        self.check()

    def check(self) -> None:
        """Take the output: no window may be exceeded, and no data held without need."""
        out = self.sender.take()
        self.all += out
        for frame in split(out):
            if frame.kind == frames.DATA:
                assert 0 < len(frame.payload) <= self.frame_size
                self.window -= len(frame.payload)
                self.windows[frame.stream] -= len(frame.payload)
                assert self.window >= 0
                assert self.windows[frame.stream] >= 0
                assert frame.stream not in self.closed
        got = responses(self.all)
        held = 0
        for stream, whole in self.given.items():
            if stream in self.closed:
                continue
            rest = len(whole) - len(got[stream].body)
            held += rest
            assert got[stream].ended == (rest == 0)
            if rest:
                assert self.window == 0 or self.windows[stream] <= 0, "held without need"
        assert self.sender.held == held
        assert self.sender.open_streams == sum(
            1
            for stream in STREAMS
            if stream not in self.closed and not (stream in got and got[stream].ended)
        )


@given(st.lists(_steps, max_size=40))
def test_windows_are_kept(steps: list[tuple[str, int, int]]) -> None:
    """With any windows none is exceeded, nothing waits without need, and all data arrive."""
    model = Model()
    for step in steps:
        model.step(*step)
    for stream in (0, *STREAMS):
        model.step("widen", stream, 1_000_000)
    got = responses(model.all)
    for stream, whole in model.given.items():
        if stream not in model.closed:
            assert got[stream].body == whole
            assert got[stream].status == "0"


def test_ok_comes_after_all_data_only() -> None:
    """A response that is cut by a window has no status yet."""
    sender = Sender()
    sender.apply({INITIAL: 10})
    sender.open(1)
    sender.respond(1, b"a" * 11)
    assert responses(sender.take())[1].status is None
    sender.widen(1, 1)
    assert split(sender.take())[-1].flags & frames.END_STREAM


def test_small_responses_fill_the_connections_window() -> None:
    """Responses that fit in their own windows still share the connection's."""
    model = Model()
    for stream in STREAMS:
        model.step("respond", stream, 16_000)
    assert model.sender.held == len(STREAMS) * 16_000 - 65_535


def test_a_window_below_zero() -> None:
    """Settings may make a window negative; nothing goes out until it is positive (6.9.2)."""
    sender = Sender()
    sender.open(1)
    sender.respond(1, b"a" * 70_000)
    sender.widen(0, 1_000_000)
    sender.take()
    sender.apply({INITIAL: 0})
    sender.widen(1, 65_535)
    assert sender.take() == b""
    sender.widen(1, 1)
    assert [frame.payload for frame in split(sender.take())] == [b"a"]


def test_windows_too_large() -> None:
    """A window over 2^31-1 fails the stream, or the connection when it is the connection's."""
    sender = Sender()
    sender.open(1)
    with pytest.raises(StreamFailed) as stream_failed:
        sender.widen(1, frames.MAX_WINDOW)
    assert stream_failed.value.code == ErrorCode.FLOW_CONTROL_ERROR
    with pytest.raises(ConnectionFailed) as failed:
        sender.widen(0, frames.MAX_WINDOW)
    assert failed.value.code == ErrorCode.FLOW_CONTROL_ERROR


def test_settings_make_a_window_too_large() -> None:
    """An initial window that takes an open stream's over the limit ends the connection."""
    sender = Sender()
    sender.open(1)
    sender.widen(1, 10)
    with pytest.raises(ConnectionFailed) as caught:
        sender.apply({INITIAL: frames.MAX_WINDOW})
    assert caught.value.code == ErrorCode.FLOW_CONTROL_ERROR


def test_an_update_costs_no_more_than_it_frees() -> None:
    """Ten thousand updates that free nothing don't look at each of 4,000 held responses."""
    sender = Sender()
    sender.apply({INITIAL: 0})
    for stream in range(1, 8001, 2):
        sender.open(stream)
        sender.respond(stream, b"12345")
    sender.take()
    started = time.process_time()
    for _ in range(10_000):
        sender.widen(0, 1)
        sender.widen(9_999, 1)
    assert time.process_time() - started < 1
    assert sender.take() == b""
