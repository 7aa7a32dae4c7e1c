"""What concerns the Envoy process alone: its limits, its drain, where it finds authz."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from authz.addresses import TcpAddress
from authz.config.fields import AnyAddress, Section, Tcp, WholeSeconds


class EnvoySettings(Section):
    """What concerns the Envoy process alone.

    Attributes:
        admin: Envoy's admin interface; None means a Unix socket in the state folder, because
            whoever reaches it can stop Envoy.
        metrics: where Envoy serves its metrics and its readiness, and nothing else of the admin
            interface; None means nowhere.
        drain_timeout: seconds that open streams get to finish when the pair stops.
        stream_idle_timeout: seconds without a byte in either direction before a stream is cut;
            a thinking model is silent for minutes.
        websocket_timeout: seconds that a WebSocket may live. It is checked when it is opened, so
            this is how long it may outlive a revocation.
        concurrency: threads that carry requests; None means one for each processor.
        max_connections: downstream connections in all.
        max_checks: at a time to all of authz; what is beyond gets 503 at once instead of waiting.
            Of an Envoy and an authz that are full, one waits half a second.
        max_heap_mib: of memory; short of it new requests get 503, while what streams goes on.
        authz_grpc: where the replicas of authz are asked; a host name stands for all of its
            addresses. Empty means ``authz.grpc``.
        authz_http: the same for their HTTP side; empty means ``authz.http``.
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

    @model_validator(mode="after")
    def _destinations(self) -> Self:
        for key in ("authz_grpc", "authz_http"):
            addresses: tuple[TcpAddress, ...] = getattr(self, key)
            if len(set(addresses)) < len(addresses):
                raise ValueError(f"{key}: an address stands twice")
            for address in addresses:
                if address.for_clients != address:
                    raise ValueError(f"{key}: nobody can connect to {address}")
        return self
