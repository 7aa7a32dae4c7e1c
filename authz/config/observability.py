"""Settings of recorded usage, logs and traces."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, model_validator

from authz.config.fields import CaFile, IdentityUrl, Section, Url


class Usage(Section):
    """The record of requests and the tokens they used.

    Attributes:
        enabled: record requests, and read the tokens they used from the providers' responses.
        database: the URL of the database, written like ``identity``. None means the identity
            store, unless Coder manages it.
        keep_days: days after which a recorded request is deleted.
        metrics_by_user: add a series of tokens for each user to ``/metrics``.
    """

    enabled: StrictBool = True
    database: IdentityUrl | None = None
    keep_days: Annotated[int, Field(strict=True, ge=1, le=3650)] = 90
    metrics_by_user: StrictBool = False


class Log(Section):
    """The log of authz on standard error, and the access log on Envoy's standard output.

    Attributes:
        level: the lowest level that authz logs.
        format: the format of authz's log. ``auto`` means ``console`` on a terminal, else ``json``.
        access: the format of the access log. ``text`` writes a short line for each request.
            ``auto`` means ``text`` when ``authz up`` runs on a terminal, else ``json``, which
            ``authz usage import`` can read.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    access: Literal["auto", "json", "text"] = "auto"


class Tracing(Section):
    """Spans of Envoy and authz, in one trace for each request.

    Attributes:
        otlp: the collector's URL, such as ``http://host:4317``. The protocol is OTLP over gRPC,
            in clear (``http``) or with TLS (``https``).
        sample: the fraction of requests that are traced; 1 traces every request.
        join_clients: continue a trace that the client began. The client then decides which
            requests are sampled.
        ca_file: certificates that sign the collector's; None means the system's roots.
    """

    otlp: Url
    sample: Annotated[float, Field(gt=0, le=1)] = 0.1
    join_clients: StrictBool = False
    ca_file: CaFile | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.otlp.path != "/":
            raise ValueError("otlp: must not have a path: OTLP over gRPC uses none")
        if self.ca_file is not None and not self.otlp.tls:
            raise ValueError("ca_file: needs otlp to begin with https://")
        return self
