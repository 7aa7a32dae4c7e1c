"""Settings of the Envoy process: its limits, its drain, and the addresses of authz."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from authz.addresses import TcpAddress
from authz.config.fields import AnyAddress, Section, Tcp, WholeSeconds


class EnvoySettings(Section):
    """Settings of the Envoy process.

    Attributes:
        admin: address of Envoy's admin interface. Unset means a Unix socket in the state folder,
            because anyone who reaches this interface can stop Envoy.
        metrics: address where Envoy serves its metrics and its readiness, without the rest of the
            admin interface. Unset means that it serves neither.
        authz_grpc: addresses of the authz replicas for checks. A host name stands for all of its
            IP addresses. An empty list means ``authz.grpc``.
        authz_http: addresses of the authz replicas for HTTP. An empty list means ``authz.http``.
        drain_timeout: how long open streams may continue when the gateway stops.
        stream_idle_timeout: how long a stream may be silent in both directions before Envoy ends
            it. A thinking model can be silent for minutes.
        websocket_timeout: the longest life of a WebSocket. Its token is checked only when it
            opens, so this is how long it can outlive a revocation.
        concurrency: threads that process requests. Unset means one for each processor.
        max_connections: the maximum number of client connections.
        max_checks: the maximum number of concurrent checks to all authz replicas. A request
            beyond it gets 503 at once.
        max_heap_mib: the maximum heap of Envoy in MiB. Beyond it new requests get 503, and open
            streams continue.
        max_body_mib: the largest request that Envoy reads for ``models`` and ``budgets.strict``,
            in MiB. It holds such a request in memory until its last byte is there.
        max_retry_body_kib: the largest request body that Envoy keeps to send it again, in KiB,
            until the answer begins. It streams a larger one, without retries.
    """

    admin: AnyAddress | None = None
    metrics: Tcp | None = None
    authz_grpc: tuple[Tcp, ...] = ()
    authz_http: tuple[Tcp, ...] = ()
    drain_timeout: Annotated[WholeSeconds, Field(ge=0)] = 300
    stream_idle_timeout: Annotated[WholeSeconds, Field(ge=1)] = 900
    websocket_timeout: Annotated[WholeSeconds, Field(ge=1)] = 3600
    concurrency: Annotated[int, Field(strict=True, ge=1, le=512)] | None = None
    max_connections: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 10_000
    max_checks: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 5_000
    max_heap_mib: Annotated[int, Field(strict=True, ge=1, le=1 << 20)] = 2_048
    max_body_mib: Annotated[int, Field(strict=True, ge=1, le=1024)] = 32
    max_retry_body_kib: Annotated[int, Field(strict=True, ge=1, le=1 << 20)] = 1024

    @model_validator(mode="after")
    def _destinations(self) -> Self:
        for key in ("authz_grpc", "authz_http"):
            addresses: tuple[TcpAddress, ...] = getattr(self, key)
            if len(set(addresses)) < len(addresses):
                raise ValueError(f"{key}: addresses must be unique")
            for address in addresses:
                if address.for_clients != address:
                    raise ValueError(f"{key}: {address} is a wildcard: clients can't connect to it")
        return self
