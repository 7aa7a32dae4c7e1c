"""Budgets in the running service: their gate, and the costs of recorded requests."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from authz.config.budgets import Budgets
from authz.config.settings import Config
from authz.errors import AuthzError, ManagedByCoder, StartError
from authz.identity.open import open_database
from authz.prices.current import CurrentPrices
from authz.usage.charges import charge_of
from authz.usage.entry import UsageEntry

if TYPE_CHECKING:
    from authz.budgets.gate import BudgetGate, Rules

_log = structlog.get_logger(__name__)

STOP_SECONDS = 5.0
"""The time for the last costs to be written."""


async def start_budgets(
    config: Config,
    prices: CurrentPrices,
    on_announced: Callable[[], None],
    parts: AsyncExitStack,
) -> "BudgetGate | None":
    """Start the budgets, if they are switched on.

    Args:
        config: the configuration.
        prices: bound the costs of requests with strict budgets.
        on_announced: called after a budget was announced.
        parts: gets the function that stops them.

    Raises:
        StartError: Coder manages the database, so there is no place for budgets.
    """
    if config.budgets is None:
        return None
    # Imported late: most gateways have no budgets.
    from authz.budgets.gate import BudgetGate

    gate = BudgetGate(
        lambda: open_database(config.identity),
        rules_of(config.budgets, prices, notifies=config.notices is not None),
        on_announced=on_announced,
    )
    parts.push_async_callback(gate.stop, STOP_SECONDS)
    try:
        # Otherwise the first requests would be refused until the budgets are known.
        await gate.refresh()
    except ManagedByCoder as error:
        raise StartError(
            f"budgets: needs a store of authz's own (identity: sqlite://… or postgresql://…): "
            f"{error}"
        ) from None
    except AuthzError as error:
        _log.error("budgets can't be used", why=str(error))
    gate.start()
    return gate


def rules_of(settings: Budgets, prices: CurrentPrices, *, notifies: bool) -> "Rules":
    """Return the rules of budgets.

    Args:
        settings: the section of the configuration.
        prices: bound the costs of requests.
        notifies: store notices of budgets that are reached.
    """
    from authz.budgets.gate import Rules
    from authz.budgets.money import parse_dollars
    from authz.budgets.strict import Strict

    strict = None
    if settings.strict:
        strict = Strict(
            prices.price_at_most,
            settings.max_output_tokens,
            settings.unseen_input_tokens,
            lambda: prices.refuses_unpriced,
        )
    return Rules(
        first_cost=parse_dollars(f"{settings.first_cost:.9f}"),
        life_seconds=settings.reservation_life,
        passes_uncounted=settings.unavailable == "pass",
        notifies=notifies,
        strict=strict,
    )


def settling(
    record: Callable[[UsageEntry], None], gate: "BudgetGate"
) -> Callable[[UsageEntry], None]:
    """Return a function that records a request and settles its reservation.

    Args:
        record: prices and records a request.
        gate: has the reservation.
    """

    def settle(entry: UsageEntry) -> None:
        try:
            record(entry)
        finally:
            # Without a charge the reservation would end as if the request had cost nothing.
            if (charge := charge_of(entry)) is not None:
                gate.settle(*charge)

    return settle
