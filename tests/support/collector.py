"""A small OpenTelemetry collector that receives spans and logs over OTLP and stores them."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_services
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


@dataclass(frozen=True)
class Record:
    """One log record.

    Attributes:
        attributes: texts, numbers and lists of texts, without the prefix ``authz.``.
    """

    service: str
    name: str
    time_ns: int
    attributes: dict[str, Any]


@dataclass
class Collector:
    """The requests that were sent.

    Attributes:
        requests: of spans, as they came.
        log_requests: of logs that were accepted, as they came.
        refuse: returns the gRPC status with which a request of logs is refused, or None.
        rejected: the number of records that each answer says were rejected.
    """

    port: int
    requests: list[Any] = field(default_factory=list)
    log_requests: list[Any] = field(default_factory=list)
    refuse: Callable[[Any], grpc.StatusCode | None] = lambda _: None
    rejected: int = 0

    @property
    def records(self) -> list[Record]:
        """All log records, in order of arrival."""
        return [
            Record(
                service=_texts(resource.resource.attributes).get("service.name", ""),
                name=record.event_name,
                time_ns=record.time_unix_nano,
                attributes={
                    one.key.removeprefix("authz."): _value(one.value) for one in record.attributes
                },
            )
            for request in list(self.log_requests)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Span]:
        """All spans, in order of arrival."""
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


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)


class _Logs(logs_services.LogsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        code = self._collector.refuse(request)
        if code is not None:
            context.abort(code, "refused")
        self._collector.log_requests.append(request)
        response = logs_pb.ExportLogsServiceResponse()
        response.partial_success.rejected_log_records = self._collector.rejected
        return response


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
    logs_services.add_LogsServiceServicer_to_server(  # type: ignore[no-untyped-call]
        _Logs(running), server
    )
    server.add_insecure_port(f"127.0.0.1:{running.port}")
    server.start()
    try:
        yield running
    finally:
        server.stop(0.5).wait()
