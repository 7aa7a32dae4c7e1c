"""Settings of budgets, and what they need."""

from collections.abc import Iterator
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, StrictBool, StrictStr

from authz.config.fields import Section, WholeSeconds

Tokens = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            "must be a time zone of the IANA database, such as Europe/Berlin or UTC"
        ) from None
    return name


class Budgets(Section):
    """Amounts that users, groups and tokens may spend (docs/budgets.md).

    The amounts are set with ``authz budgets set``.

    Attributes:
        zone: the time zone in which days, weeks and months begin, for budgets that name no other.
        first_cost: the dollars that are reserved for a request of a user whose usual cost with
            that provider is not known yet.
        reservation_life: how long a reservation waits for the record of its request.
        unavailable: the answer to requests with a budget while the database can't be used.
            ``refuse`` answers 503; ``pass`` lets them pass, and they are not counted.
        strict: reserve the most that a request can cost instead of the usual cost. Envoy then
            reads the requests that use a central key (docs/budgets.md).
        max_output_tokens: the output tokens that ``strict`` assumes for a request that sets no
            limit. Unset means that such a request is refused.
        unseen_input_tokens: the input tokens that ``strict`` adds for what a provider adds to the
            text of a request.
    """

    zone: Annotated[StrictStr, AfterValidator(_time_zone)] = "UTC"
    first_cost: Annotated[float, Field(gt=0, le=1000)] = 0.1
    reservation_life: Annotated[WholeSeconds, Field(ge=60)] = 900
    unavailable: Literal["refuse", "pass"] = "refuse"
    strict: StrictBool = False
    max_output_tokens: Tokens | None = None
    unseen_input_tokens: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 2_000


def budget_problems(
    *, managed_by_coder: bool, records_usage: bool, has_external_gateways: bool
) -> Iterator[str]:
    """Yield a message for each setting with which budgets can't hold.

    Args:
        managed_by_coder: Coder's API is the source of identities.
        records_usage: requests are recorded.
        has_external_gateways: other gateways than the project's own may ask.
    """
    if managed_by_coder:
        yield (
            "budgets: needs a store of authz's own (identity: sqlite://… or postgresql://…), "
            "because Coder has no place for them"
        )
    if not records_usage:
        yield "budgets: needs usage.enabled, because the records of requests say what they cost"
    if has_external_gateways:
        yield (
            "budgets: does not work with external_gateways, because the logs of other gateways "
            "may leave out what a request cost"
        )
