"""Settings of recorded usage, logs and traces."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, model_validator

from authz.config.fields import FilePath, IdentityUrl, Section, Url


class Usage(Section):
    """Records of requests and of the tokens that they used.

    Attributes:
        enabled: whether authz records requests and reads token counts from the providers'
            answers.
        database: URL of the database for these records, in the form of ``identity``. Unset means
            the database of ``identity``, unless Coder manages it.
        keep_days: how many days a record is kept.
        metrics_by_user: whether ``/metrics`` has token counts by user, one series for each user.
        tags: whether records have the project that a client names in
            ``X-Coder-AI-Gateway-Project``, and the session ids of Claude Code and Codex.
    """

    enabled: StrictBool = True
    database: IdentityUrl | None = None
    keep_days: Annotated[int, Field(strict=True, ge=1, le=3650)] = 90
    metrics_by_user: StrictBool = False
    tags: StrictBool = False

    @property
    def has_tags(self) -> bool:
        """True if records have the project and the session."""
        return self.enabled and self.tags


class Log(Section):
    """The log of authz on standard error, and the access log on Envoy's standard output.

    Attributes:
        level: the lowest level that authz logs.
        format: format of the authz log. ``auto`` means ``console`` on a terminal, else ``json``.
        access: format of the access log. ``text`` is one short line for each request; ``json``
            has every field and can be imported as usage. ``auto`` means ``text`` for ``authz up``
            on a terminal, else ``json``.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    access: Literal["auto", "json", "text"] = "auto"


class Tracing(Section):
    """Spans of Envoy and authz, one trace for each request.

    Attributes:
        otlp: URL of the collector for OTLP over gRPC, such as ``http://collector:4317``.
        sample: the fraction of requests that are traced; 1 means all.
        join_clients: whether a request continues the trace of its client. Then the client decides
            which requests are sampled.
        ca_file: PEM file with the CA of the collector. Unset means the system's trusted roots.
    """

    otlp: Url
    sample: Annotated[float, Field(gt=0, le=1)] = 0.1
    join_clients: StrictBool = False
    ca_file: FilePath | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.otlp.path != "/":
            raise ValueError("otlp: must not have a path: OTLP over gRPC uses none")
        if self.ca_file is not None and not self.otlp.tls:
            raise ValueError("ca_file: needs otlp to begin with https://")
        return self
