"""Define the bodies of the calls about budgets."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import StrictBool, StrictStr

from authz.web.api.models import Body


class BudgetState(Body):
    """A budget and its state now; amounts are decimal texts in dollars.

    Attributes:
        owner_id: the UUID of a user or a group, or the id of a token.
        name: of the owner.
        zone: the time zone in which the period begins.
        hard: whether it refuses requests; a soft one only warns.
        spent: what the requests of this period have cost.
        reserved: what is held for requests in progress.
    """

    id: UUID
    owner: Literal["user", "group", "token"]
    owner_id: StrictStr
    name: StrictStr
    period: Literal["day", "week", "month"]
    zone: StrictStr
    hard: bool
    amount: StrictStr
    spent: StrictStr
    reserved: StrictStr
    began_at: datetime
    starts_again_at: datetime


class SetBudget(Body):
    """A budget to set. It replaces the amount and zone of one with the same owner and period.

    Attributes:
        name: the name or UUID of a user or a group, or the id of a token.
        amount: dollars, as a decimal text such as ``"12.50"``.
        zone: absent means ``budgets.zone`` of the configuration.
    """

    owner: Literal["user", "group", "token"]
    name: StrictStr
    period: Literal["day", "week", "month"]
    amount: StrictStr
    hard: StrictBool = True
    zone: StrictStr | None = None
