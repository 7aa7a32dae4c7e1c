"""authz.transport.http2.problems: a protocol error is logged with its reason, once a minute."""

import pytest
import structlog

from authz.transport.http2 import connection, frames
from authz.transport.http2.frames import ErrorCode
from authz.transport.http2.problems import ProblemLog
from tests.unit.transport.http2.wire import SLOW, Wire, call, headers, settle


def test_once_a_minute() -> None:
    """The same problem is one line a minute, which counts those that were left out."""
    now = 1000.0
    problems = ProblemLog(lambda: now)
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            problems.log("ended", "a reason", code="X")
        problems.log("ended", "another reason")
        now += 61
        problems.log("ended", "a reason", code="X")
        now += 61
        problems.log("ended", "a reason", code="X")
    assert [(line["why"], line.get("lines_left_out")) for line in logs] == [
        ("a reason", None),
        ("another reason", None),
        ("a reason", 4),
        ("a reason", None),
    ]


_GOAWAY = frames.goaway(0, ErrorCode.COMPRESSION_ERROR)[9:] + b"sk-secret"


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (headers(3, b"\x80"), "InvalidTableIndex"),
        (headers(3, b"", 5), "malformed request"),
        (frames.reset(1, ErrorCode.COMPRESSION_ERROR), "COMPRESSION_ERROR"),
        (frames.frame(frames.GOAWAY, 0, 0, _GOAWAY), "COMPRESSION_ERROR"),
        (frames.frame(frames.GOAWAY, 0, 0, b"\0" * 4 + b"\xff" * 4), "unknown code"),
    ],
    ids=["of the connection", "of a call", "peer's reset", "peer's GOAWAY", "unknown code"],
)
async def test_reasons(sent: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors that the server or its peer finds are logged, without text of the peer."""
    monkeypatch.setattr(connection, "_problems", ProblemLog())
    wire = Wire().send(call(1, path=SLOW))
    with structlog.testing.capture_logs() as logs:
        wire.send(sent)
        await settle()
    assert [line["why"] for line in logs] == [why]
    assert "sk-secret" not in str(logs)


async def test_plain_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that cancels calls or closes as usual causes no line."""
    monkeypatch.setattr(connection, "_problems", ProblemLog())
    wire = Wire().send(call(1, path=SLOW))
    with structlog.testing.capture_logs() as logs:
        wire.send(frames.reset(1, ErrorCode.CANCEL), frames.goaway(0, ErrorCode.NO_ERROR))
        await settle()
    assert logs == []
