"""A small OpenTelemetry collector: takes spans over OTLP and keeps them."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services

from tests.support.pair import free_port


@dataclass(frozen=True)
class Span:
    """One span.

    Attributes:
        service: who sent it.
        attributes: as text.
    """

    service: str
    name: str
    trace: bytes
    id: bytes
    parent: bytes
    attributes: dict[str, str]


@dataclass
class Collector:
    """What was sent.

    Attributes:
        requests: as they came.
    """

    port: int
    requests: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Span]:
        """All spans, in the order in which they came."""
        return [
            Span(
                service=_texts(resource.resource.attributes).get("service.name", ""),
                name=span.name,
                trace=span.trace_id,
                id=span.span_id,
                parent=span.parent_span_id,
                attributes=_texts(span.attributes),
            )
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def _texts(attributes: Any) -> dict[str, str]:
    return {
        one.key: str(getattr(one.value, one.value.WhichOneof("value") or "string_value"))
        for one in attributes
    }


class _Service(services.TraceServiceServicer):
    def __init__(self, requests: list[Any]) -> None:
        self._requests = requests

    def Export(self, request: Any, context: object) -> Any:  # noqa: N802 - gRPC's name
        self._requests.append(request)
        return pb.ExportTraceServiceResponse()


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on a free port."""
    running = Collector(free_port())
    server = grpc.server(ThreadPoolExecutor(2))
    services.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]
        _Service(running.requests), server
    )
    server.add_insecure_port(f"127.0.0.1:{running.port}")
    server.start()
    try:
        yield running
    finally:
        server.stop(0.5).wait()
