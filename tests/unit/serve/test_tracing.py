"""authz.serve.tracing: the spans of traced checks and their attributes."""

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pydantic import ValidationError

from authz.check import ext_authz, responses
from authz.config.observability import Tracing
from authz.core.providers import ErrorShape
from authz.core.refusals import REFUSALS, Reason
from authz.serve.tracing import CheckTraces

SETTINGS = Tracing.model_validate({"otlp": "http://127.0.0.1:4317"})
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
DENIED = ext_authz.unavailable(
    responses.unavailable(REFUSALS[Reason.OVERLOADED], ErrorShape.ANY, "r"),
    {"decision": "unavailable", "user": "alice"},
)


async def _check(_message: bytes) -> bytes:
    return DENIED


@pytest.fixture
async def exported() -> tuple[CheckTraces, InMemorySpanExporter]:
    """Traces whose spans are kept here."""
    exporter = InMemorySpanExporter()
    return CheckTraces(_check, SETTINGS, exporter), exporter


async def _spans(traces: CheckTraces, exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    await traces.stop(5)
    return list(exporter.get_finished_spans())


async def test_a_span_is_the_child_of_envoys(
    exported: tuple[CheckTraces, InMemorySpanExporter],
) -> None:
    """A span has the parent of the check, is marked for a failure, and contains no name."""
    traces, exporter = exported
    assert await traces.traced(f"00-{TRACE}-{PARENT}-01".encode())(b"") == DENIED
    (span,) = await _spans(traces, exporter)
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.attributes == {"authz.decision": "unavailable"}
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE}-{PARENT}-00".encode(),
        b"",
        b"\xff\xfe",
        b"00-0-0-01",
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        b"-" * 10_000,
    ],
)
async def test_no_span_where_envoy_makes_none(
    exported: tuple[CheckTraces, InMemorySpanExporter], traceparent: bytes
) -> None:
    """A check without a valid, sampled ``traceparent`` is answered as usual, without a span."""
    traces, exporter = exported
    assert await traces.traced(traceparent)(b"") == DENIED
    assert await _spans(traces, exporter) == []


def test_nothing_is_loaded_without_tracing() -> None:
    """The service does not import OpenTelemetry unless the configuration asks for traces."""
    program = (
        "import sys, authz.serve.service\n"
        "print([name for name in sys.modules if 'opentelemetry' in name])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"otlp": "http://collector:4317/v1/traces"}, "must not have a path"),
        ({"otlp": "http://collector:4317", "ca_file": "/etc/ssl/certs/ca-certificates.crt"}, "ca_"),
        ({"otlp": "http://me:secret@collector:4317"}, "must not contain a user name"),
        ({"otlp": "http://collector:4317", "sample": 0}, "greater than 0"),
        ({"otlp": "http://collector:4317", "sample": 1.5}, "less than or equal to 1"),
        ({}, "required"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, object], why: str) -> None:
    """An invalid setting is refused with the reason, and no password is repeated."""
    with pytest.raises(ValidationError) as caught:
        Tracing.model_validate(settings)
    assert why in str(caught.value)
    assert "secret" not in str(caught.value)
