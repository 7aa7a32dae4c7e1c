"""Envoy's traces: a span for each request, sent with OTLP over gRPC.

No span says what a client could have put a secret into: neither path nor host nor user agent. And
nothing of a trace goes on to a provider: the client's own headers are removed before anything reads
them, and the router, which adds Envoy's after every filter, is told not to.
"""

from datetime import timedelta

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation
from envoy_data_plane.envoy.config.core.v3 import (
    GrpcService,
    GrpcServiceEnvoyGrpc,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.trace.v3 import OpenTelemetryConfig, TracingHttp
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerTracing,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy_data_plane.envoy.type.metadata.v3 import (
    MetadataKey,
    MetadataKeyPathSegment,
    MetadataKind,
    MetadataKindRequest,
)
from envoy_data_plane.envoy.type.tracing.v3 import (
    CustomTag,
    CustomTagLiteral,
    CustomTagMetadata,
)
from envoy_data_plane.envoy.type.v3 import Percent

from authz.check.ext_authz import METADATA_NAMESPACE
from authz.config.observability import Tracing
from authz.core.header_names import TRACE_HEADERS, TRACEPARENT
from authz.envoy.packing import extension, packed

COLLECTOR_CLUSTER = "otlp"
SERVICE = "envoy"
ATTRIBUTES = ("provider", "mode", "decision", "reason", "user_id")
"""As in authz's own spans (``authz/serve/tracing.py``)."""
HIDDEN_ATTRIBUTES = ("http.url", "user_agent")
"""Envoy's own that repeat what the client sent. They can't be left out, so they say nothing."""

_WAITING_SPANS = 4096


def tracing(settings: Tracing) -> HttpConnectionManagerTracing:
    """Return the tracing of a connection manager."""
    config = OpenTelemetryConfig(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=COLLECTOR_CLUSTER),
            timeout=timedelta(seconds=5),
        ),
        service_name=SERVICE,
        max_cache_size=_WAITING_SPANS,
    )
    return HttpConnectionManagerTracing(
        provider=TracingHttp(name="envoy.tracers.opentelemetry", typed_config=packed(config)),
        random_sampling=Percent(value=settings.sample * 100),
        client_sampling=Percent(value=0),
        # Beside what the attributes hide: the path is not even put together.
        max_path_tag_length=0,
        operation="%ROUTE_NAME%",
        upstream_operation="%UPSTREAM_CLUSTER%",
        spawn_upstream_span=True,
        no_context_propagation=True,
        custom_tags=[
            *(_of_authz(name) for name in ATTRIBUTES),
            *(
                CustomTag(tag=name, literal=CustomTagLiteral(value="-"))
                for name in HIDDEN_ATTRIBUTES
            ),
        ],
    )


def forget_client_traces(settings: Tracing) -> TypedExtensionConfig:
    """Remove a client's trace headers before Envoy decides whether to trace the request."""
    kept = {TRACEPARENT} if settings.join_clients else set()
    mutations = [HeaderMutation(remove=name) for name in TRACE_HEADERS if name not in kept]
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        EarlyHeaderMutation(mutations=mutations),
    )


def _of_authz(name: str) -> CustomTag:
    return CustomTag(
        tag=f"authz.{name}",
        metadata=CustomTagMetadata(
            kind=MetadataKind(request=MetadataKindRequest()),
            metadata_key=MetadataKey(
                key=METADATA_NAMESPACE, path=[MetadataKeyPathSegment(key=name)]
            ),
        ),
    )
