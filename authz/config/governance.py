"""Who may use how much, what is recorded of it, and what authz says of itself."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictStr, model_validator

from authz.config.fields import CaFile, IdentityUrl, Section, Url

Rate = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class Limits(Section):
    """How much one person may ask. Each Envoy process counts for itself.

    Attributes:
        requests_per_minute: of each user; None means no limit.
        users: by user name, in place of it; None means no limit for that user.
    """

    requests_per_minute: Rate | None = None
    users: dict[StrictStr, Rate | None] = Field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether anybody has a limit."""
        rates = (self.requests_per_minute, *self.users.values())
        return any(rate is not None for rate in rates)


class Usage(Section):
    """Who used what.

    Attributes:
        enabled: whether tokens are read from providers' answers and requests are recorded.
        database: where; None means the identity store, if it is ours. A URL as ``identity``.
        keep_days: after which a recorded request is deleted.
        metrics_by_user: whether ``/metrics`` has tokens by user, a series for each.
    """

    enabled: StrictBool = True
    database: IdentityUrl | None = None
    keep_days: Annotated[int, Field(strict=True, ge=1, le=3650)] = 90
    metrics_by_user: StrictBool = False


class Log(Section):
    """The log of authz on standard error, and the access log on Envoy's standard output.

    Attributes:
        level: of authz's log, from which on.
        format: of authz's log; ``auto`` is for people on a terminal, else JSON.
        access: ``text`` is a short line for each request, for people; ``auto`` is text where
            ``authz up`` runs on a terminal, else JSON, which is the record of usage.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    access: Literal["auto", "json", "text"] = "auto"


class Tracing(Section):
    """Spans of Envoy and authz, in one trace for each request.

    Attributes:
        otlp: the collector, as ``http://host:4317``: OTLP over gRPC, in clear or with TLS.
        sample: which part of the requests is traced, 1 is every one.
        join_clients: whether a trace that a client has begun goes on here. Then the client
            decides what is sampled.
        ca_file: whom to trust as the collector; None means the system's roots.
    """

    otlp: Url
    sample: Annotated[float, Field(gt=0, le=1)] = 0.1
    join_clients: StrictBool = False
    ca_file: CaFile | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.otlp.path != "/":
            raise ValueError("otlp: without a path, since it is OTLP over gRPC")
        if self.ca_file is not None and not self.otlp.tls:
            raise ValueError("ca_file: needs an https:// otlp")
        return self
