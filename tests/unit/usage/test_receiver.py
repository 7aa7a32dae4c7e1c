"""authz.usage.receiver."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from authz.usage.entry import UsageEntry
from authz.usage.names import REQUEST, REQUEST_BEFORE_GROUPS
from authz.usage.receiver import ANSWER, RequestRecords
from tests.support.records import export, request_record

ID = "0123456789ab-000000000001"
REFUSED = {
    "entry": ID,
    "mode": "centralized",
    "provider": "anthropic",
    "status": "429",
    "details": "via_upstream",
}


class Seen:
    """What a receiver has handed on."""

    def __init__(self) -> None:
        self.entries: list[UsageEntry] = []
        self.refused: list[tuple[str, int]] = []
        self._records = RequestRecords(
            self.entries.append, lambda provider, status: self.refused.append((provider, status))
        )

    def receive(self, message: bytes) -> None:
        """Hand over a message, which is always taken."""
        assert asyncio.run(self._records.receive(message)) == ANSWER


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, [("anthropic", 429)]),
        ({"status": "403"}, [("anthropic", 403)]),
        ({"status": "500"}, []),
        ({"details": "request_rate_limited"}, []),
        ({"mode": "byok"}, []),
        ({"provider": "-"}, []),
    ],
)
def test_refused_central_keys_are_counted(
    changes: dict[str, str], refused: list[tuple[str, int]]
) -> None:
    """What a provider itself answers to a central key counts, if it refuses the key."""
    seen = Seen()
    seen.receive(export(request_record(REFUSED | changes)))
    assert seen.refused == refused
    assert [entry.id for entry in seen.entries] == [ID]


def test_a_record_of_an_earlier_envoy_is_taken() -> None:
    """An Envoy that was rendered before there were groups sends one value less."""
    first, *values = request_record({"entry": ID, "user": "alice"})
    seen = Seen()
    assert first == REQUEST
    seen.receive(export([REQUEST_BEFORE_GROUPS, *values[:-1]]))
    assert [(entry.id, entry.username, entry.groups) for entry in seen.entries] == [
        (ID, "alice", ())
    ]


def test_one_bad_record_costs_no_other() -> None:
    """What is no record of ours is passed over and told; those around it are taken."""
    good = request_record({"entry": ID})
    seen = Seen()
    with capture_logs() as logs:
        seen.receive(
            export(good, good[:-1], [], [b"\xff"], ["another.1", *good[1:]], [*good, "x"], good)
        )
    assert [entry.id for entry in seen.entries] == [ID, ID]
    assert [line["log_level"] for line in logs] == ["error"] * 5


def test_a_recorder_that_fails() -> None:
    """What goes wrong behind is logged by its type alone, and Envoy is told that all was taken."""

    def record(_: UsageEntry) -> None:
        raise RuntimeError("secret")

    with capture_logs() as logs:
        message = export(request_record({"entry": ID}))
        assert asyncio.run(RequestRecords(record).receive(message)) == ANSWER
    assert [line["error"] for line in logs] == ["RuntimeError"]
    assert "secret" not in str(logs)


@given(st.binary())
def test_bytes_never_raise(message: bytes) -> None:
    """Any bytes are taken without an exception."""
    Seen().receive(message)
