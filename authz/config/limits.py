"""Settings of the limits on requests."""

from typing import Annotated

from pydantic import Field, StrictStr

from authz.config.fields import Section
from authz.config.shared_limits import SharedLimits

Rate = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class Limits(Section):
    """Request rates. Each Envoy process counts on its own; ``shared`` counts over all of them.

    Attributes:
        requests_per_minute: the limit of each user. Unset means no limit.
        users: limits by user name, which replace ``requests_per_minute``. ``null`` means no limit.
        shared: limits that all Envoys and all authz processes count in one place
            (docs/limits.md). Unset means that there are none.
    """

    requests_per_minute: Rate | None = None
    users: dict[StrictStr, Rate | None] = Field(default_factory=dict)
    shared: SharedLimits | None = None

    @property
    def any(self) -> bool:
        """True if any user has a limit."""
        rates = (self.requests_per_minute, *self.users.values())
        return any(rate is not None for rate in rates)
