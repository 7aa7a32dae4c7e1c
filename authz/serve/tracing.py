"""Sends authz's own spans with OTLP, as children of Envoy's (W3C Trace Context).

This module needs the extra ``otel``. The service imports it only if ``tracing`` is set.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable

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

SERVICE = "authz"
ATTRIBUTES = ("provider", "mode", "decision", "reason", "user_id")
"""A span's attributes, each with the prefix ``authz.``; a client can't choose their values."""

_EXPORT_SECONDS = 5


Check = Callable[[bytes], Awaitable[bytes]]
"""Takes a serialized check, and returns its response when it is awaited."""


class CheckTraces:
    """Creates a span for each check of a request that Envoy traces.

    A thread sends the spans. If the collector does not accept one, it is dropped.

    Args:
        check: answers a check.
        settings: name the collector.
        exporter: replaces the exporter of the settings.
    """

    def __init__(
        self, check: Check, settings: Tracing, exporter: SpanExporter | None = None
    ) -> None:
        self._check = check
        resource = Resource.create({SERVICE_NAME: SERVICE, SERVICE_VERSION: __version__})
        # Envoy decides whether to trace a request, and sends that decision with the check.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _exporter(settings)))
        self._tracer = self._provider.get_tracer("authz")
        self._propagator = TraceContextTextMapPropagator()

    def traced(self, traceparent: bytes) -> Check:
        """Return a handler that answers one check and creates its span.

        Args:
            traceparent: the header's value; there is no span if it is invalid or if the request is
                not traced.
        """
        context = self._propagator.extract({"traceparent": traceparent.decode("latin-1")})
        if not get_current_span(context).get_span_context().trace_flags.sampled:
            return self._check

        async def handle(message: bytes) -> bytes:
            span = self._tracer.start_span("check", context, kind=SpanKind.SERVER)
            try:
                response = await self._check(message)
                _describe(span, response)
                return response
            finally:
                span.end()

        return handle

    async def stop(self, grace_seconds: float) -> None:
        """Send the remaining spans, for at most ``grace_seconds``."""
        # A daemon thread, since the process must end even if the collector does not answer.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, grace_seconds)


def _describe(span: Span, response: bytes) -> None:
    metadata = metadata_of(response)
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
