"""Settings for providers that answer slowly or not at all."""

from typing import Annotated

from pydantic import Field

from authz.config.fields import Section, WholeSeconds

Timeout = Annotated[WholeSeconds, Field(ge=1)]


class OutlierDetection(Section):
    """Envoy's outlier detection: Envoy stops asking a provider that does not answer.

    Attributes:
        request_volume: how many tries have to fail within ``interval``. If the provider answers
            one request within it, with any status, it stays in use.
        interval: how often Envoy counts.
        ejection_time: how long Envoy does not ask the provider. It asks again when it counts
            next, up to ``interval`` later.
    """

    request_volume: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 10
    interval: Timeout = 10
    ejection_time: Timeout = 20

    @property
    def retry_after(self) -> int:
        """The seconds after which Envoy asks an ejected provider again in any case."""
        return self.ejection_time + self.interval
