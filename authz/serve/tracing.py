"""authz's own spans, as children of Envoy's (W3C Trace Context), sent with OTLP.

This module needs the extra ``otel``. Nothing imports it unless ``tracing`` is set.
"""

import asyncio
import threading

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from authz import __version__
from authz.certificates.trust import system_roots
from authz.check.ext_authz import metadata_of
from authz.config.observability import Tracing
from authz.transport.common import Answer

SERVICE = "authz"
ATTRIBUTES = ("provider", "mode", "decision", "reason", "user_id")
"""What a span says of its check, each behind ``authz.``; nothing of it is a client's to choose."""

_EXPORT_SECONDS = 5


class CheckTraces:
    """Makes a span for each check of a request that Envoy traces.

    Spans are sent by a thread of their own. What the collector does not take is dropped.

    Args:
        check: answers a check.
        settings: where spans go.
        exporter: in place of the one that the settings name.
    """

    def __init__(
        self, check: Answer, settings: Tracing, exporter: SpanExporter | None = None
    ) -> None:
        self._check = check
        resource = Resource.create({SERVICE_NAME: SERVICE, SERVICE_VERSION: __version__})
        # Whether a request is traced is Envoy's decision, which comes with the check.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _exporter(settings)))
        self._tracer = self._provider.get_tracer("authz")
        self._propagator = TraceContextTextMapPropagator()

    def traced(self, traceparent: bytes) -> Answer:
        """Return what answers one check, and makes a span of it.

        Args:
            traceparent: as it came; where it is none, or says that the request is not traced,
                there is no span.
        """
        context = self._propagator.extract({"traceparent": traceparent.decode("latin-1")})
        if not get_current_span(context).get_span_context().trace_flags.sampled:
            return self._check

        async def answer(message: bytes) -> bytes:
            span = self._tracer.start_span("check", context, kind=SpanKind.SERVER)
            try:
                answered = await self._check(message)
                _describe(span, answered)
                return answered
            finally:
                span.end()

        return answer

    async def stop(self, grace_seconds: float) -> None:
        """Send what is left, for at most ``grace_seconds``."""
        # A thread that nobody waits for at the end: a collector may be away.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, grace_seconds)


def _describe(span: Span, answer: bytes) -> None:
    metadata = metadata_of(answer)
    for name in ATTRIBUTES:
        if name in metadata:
            span.set_attribute(f"authz.{name}", metadata[name])
    if metadata.get("decision") == "unavailable":
        span.set_status(Status(StatusCode.ERROR))


def _exporter(settings: Tracing) -> OTLPSpanExporter:
    url = settings.otlp
    credentials = None
    if url.tls:
        roots = (settings.ca_file or system_roots()).read_bytes()
        credentials = grpc.ssl_channel_credentials(root_certificates=roots)
    host = f"[{url.host}]" if ":" in url.host else url.host
    return OTLPSpanExporter(
        endpoint=f"{host}:{url.port}",
        insecure=not url.tls,
        credentials=credentials,
        timeout=_EXPORT_SECONDS,
    )
