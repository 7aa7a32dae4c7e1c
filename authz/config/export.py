"""Settings of the export to an OpenTelemetry collector."""

from typing import Annotated, Self

from pydantic import Field, StrictBool, model_validator

from authz.config.fields import FilePath, Section, Url


class Export(Section):
    """Requests and changes as OTLP logs to a collector.

    Attributes:
        otlp: URL of the collector for OTLP over gRPC, such as ``https://collector:4317``.
        usage: whether requests are exported, also those that no database records.
        audit: whether the entries of the audit log are exported. Coder keeps its own audit log.
        queue: how many requests wait in memory for the collector. Further ones are dropped and
            counted.
        ca_file: PEM file with the CA of the collector. Unset means the system's trusted roots.
    """

    otlp: Url
    usage: StrictBool = True
    audit: StrictBool = True
    queue: Annotated[int, Field(strict=True, ge=1_000, le=1_000_000)] = 50_000
    ca_file: FilePath | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.otlp.path != "/":
            raise ValueError("otlp: must not have a path: OTLP over gRPC uses none")
        if self.ca_file is not None and not self.otlp.tls:
            raise ValueError("ca_file: needs otlp to begin with https://")
        if not self.usage and not self.audit:
            raise ValueError("usage and audit: at least one of them has to be true")
        return self
