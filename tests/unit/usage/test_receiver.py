"""authz.usage.receiver."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from authz.usage.entry import UsageEntry
from authz.usage.names import REQUEST, REQUEST_BEFORE_GROUPS
from authz.usage.receiver import ANSWER, RequestRecords
from tests.support.records import export, export_texts, request_record, text_record

ID = "0123456789ab-000000000001"
REFUSED = {
    "entry": ID,
    "mode": "centralized",
    "provider": "anthropic",
    "status": "429",
    "details": "via_upstream",
}


class Seen:
    """The entries and refused keys that a receiver has passed on."""

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
    """A central key counts as refused only if the provider itself refuses it."""
    seen = Seen()
    seen.receive(export(request_record(REFUSED | changes)))
    assert seen.refused == refused
    assert [entry.id for entry in seen.entries] == [ID]


def test_a_record_that_is_one_text() -> None:
    """A record in text form gives a request and a refused key, as an earlier Envoy's list does."""
    seen = Seen()
    text = text_record(ID, status="429", details="via_upstream")
    seen.receive(export_texts(text, text_record(ID, status="429", details="limited")))
    assert [(entry.id, entry.username) for entry in seen.entries] == [(ID, "alice")] * 2
    assert seen.refused == [("anthropic", 429)]


def test_texts_that_are_no_record() -> None:
    """A text of another kind, or with another number of lines, does not affect other texts."""
    good = text_record(ID)
    seen = Seen()
    with capture_logs() as logs:
        seen.receive(
            export_texts(
                *(good, f"{good}\n-", good.replace(".3", ".4", 1), good.partition("\n")[0]),
                *(b"\xff", good.replace("\n", " x\n", 1), good),
            )
        )
    assert [entry.id for entry in seen.entries] == [ID, ID]
    assert [line["log_level"] for line in logs] == ["error"] * 5


def test_a_record_of_an_earlier_envoy_is_taken() -> None:
    """A record with one value less, of an Envoy that was rendered before groups, is accepted."""
    first, *values = request_record({"entry": ID, "user": "alice"})
    seen = Seen()
    assert first == REQUEST
    seen.receive(export([REQUEST_BEFORE_GROUPS, *values[:-1]]))
    assert [(entry.id, entry.username, entry.groups) for entry in seen.entries] == [
        (ID, "alice", ())
    ]


def test_one_bad_record_costs_no_other() -> None:
    """A record that is not authz's is skipped and logged; those around it are accepted."""
    good = request_record({"entry": ID})
    seen = Seen()
    with capture_logs() as logs:
        seen.receive(
            export(good, good[:-1], [], [b"\xff"], ["another.1", *good[1:]], [*good, "x"], good)
        )
    assert [entry.id for entry in seen.entries] == [ID, ID]
    assert [line["log_level"] for line in logs] == ["error"] * 5


def test_a_recorder_that_fails() -> None:
    """An error in the recorder is logged by its type only, and Envoy is told that all was taken."""

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
