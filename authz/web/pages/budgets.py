"""List budgets with what is spent of them, and let owners set and remove them."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from authz.budgets.admin import BudgetStore
from authz.budgets.budget import Budget, State
from authz.budgets.money import dollars, parse_dollars
from authz.budgets.periods import Period, open_zone
from authz.budgets.shown import time_of
from authz.budgets.wording import owner_of
from authz.config.budgets import Budgets
from authz.identity import roles
from authz.identity.owners import OwnerKind
from authz.printable import printable
from authz.web.pages.context import PageContext
from authz.web.pages.owner_fields import OWNER_KINDS, check_may_change, choice, find_owner
from authz.web.pages.paging import COUNT, list_page, requested_offset
from authz.web.pages.responses import not_found

PATH = "/budgets"
_PERIODS = {Period.DAY: "a day", Period.WEEK: "a week", Period.MONTH: "a month"}
_LONGEST_SEARCH = 200


@dataclass(frozen=True, slots=True)
class ShownBudget:
    """A budget with its state, for a template. Amounts are nano-dollars.

    Attributes:
        owner: the kind and name of the owner.
        period: such as ``a month``.
        share: the percentage that is spent or reserved, rounded down.
        again: the begin of the next period.
    """

    id: str
    owner: str
    period: str
    hard: bool
    limit: int
    used: int
    spent: int
    reserved: int
    share: int
    zone: str
    again: datetime


async def show_budgets(context: PageContext) -> Response:
    """Show all budgets to administrators, and to others those that count for them."""
    return await _page(context)


async def set_budget(context: PageContext) -> Response:
    """Set a budget, which every process holds within 2 seconds."""
    settings = _settings(context)
    check_may_change(context)
    problems: dict[str, str] = {}
    kind, owner_id = await find_owner(context, problems)
    period = choice(context, "period", Period)
    amount, zone = 0, context.given("zone") or settings.zone
    try:
        amount = parse_dollars(context.given("amount"))
    except ValueError as error:
        problems["amount"] = f"{str(error).capitalize()}."
    try:
        open_zone(zone)
    except ValueError as error:
        problems["zone"] = f"{str(error).capitalize()}."
    if problems:
        return await _page(context, problems, 400)
    store = await _store(context)
    hard = context.given("effect") != "warn"
    budget = await store.set_budget(kind, owner_id, period, amount, zone=zone, hard=hard)
    text = f"The budget of {owner_of(budget)} is now {_words(budget)}."
    return context.see_done(PATH, text)


async def ask_remove(context: PageContext) -> Response:
    """Ask for confirmation before a budget is removed."""
    budget = await _budget(context)
    return context.show(
        "confirm.html",
        title=f"Remove the budget of {owner_of(budget)}?",
        text=(
            f"The limit of {_words(budget)} ends with the next request, and what is spent of it is "
            "forgotten. This can't be undone."
        ),
        button="Remove the budget",
        back=PATH,
    )


async def remove(context: PageContext) -> Response:
    """Remove a budget."""
    budget = await _budget(context)
    store = await _store(context)
    if not await store.remove_budget(budget):
        raise not_found()
    return context.see_done(PATH, f"The budget of {owner_of(budget)} was removed.")


async def budgets_of_names(context: PageContext, by: str) -> Mapping[str, list[ShownBudget]] | None:
    """Return the budgets of users or groups by name, for a table beside their spending.

    Args:
        by: ``user`` or ``group``; anything else has no budgets beside it.

    Returns:
        None where the table has no budgets.
    """
    if by not in (OwnerKind.USER, OwnerKind.GROUP) or context.pages.config().budgets is None:
        return None
    store = await _store(context)
    found: defaultdict[str, list[ShownBudget]] = defaultdict(list)
    for state in await store.list_states():
        if state.budget.kind == by:
            found[printable(state.budget.name)].append(_shown(state))
    return found


def _settings(context: PageContext) -> Budgets:
    settings = context.pages.config().budgets
    if settings is None:
        raise not_found()
    return settings


async def _store(context: PageContext) -> BudgetStore:
    budgets = context.store.part(BudgetStore)
    await budgets.prepare()
    return budgets


async def _budget(context: PageContext) -> Budget:
    _settings(context)
    check_may_change(context)
    store = await _store(context)
    budget = await store.find_budget(context.request.path_params["budget"])
    if budget is None:
        raise not_found()
    return budget


def _words(budget: Budget) -> str:
    effect = "" if budget.hard else ", which warns only"
    return f"{dollars(budget.limit)} {_PERIODS[budget.period]}{effect}"


def _shown(state: State) -> ShownBudget:
    budget = state.budget
    return ShownBudget(
        id=budget.id,
        owner=owner_of(budget),
        period=_PERIODS[budget.period],
        hard=budget.hard,
        limit=budget.limit,
        used=state.used,
        spent=state.spent,
        reserved=state.reserved,
        share=100 * state.used // budget.limit,
        zone=budget.zone,
        again=time_of(state.end_ms),
    )


async def _page(
    context: PageContext, problems: dict[str, str] | None = None, status: int = 200
) -> Response:
    settings = _settings(context)
    store = await _store(context)
    shows_all = context.access.sees_all_users
    if shows_all:
        states = await store.list_states()
    else:
        states = await store.states_for(context.caller, context.store)
    search = context.request.query_params.get("search", "").strip()[:_LONGEST_SEARCH]
    shown = [_shown(state) for state in states]
    found = [one for one in shown if search.casefold() in one.owner.casefold()]
    found.sort(key=lambda one: -one.share)
    offset = requested_offset(context.request)
    return context.show(
        "budgets.html",
        status,
        shows_all=shows_all,
        may_change=roles.is_owner(context.caller),
        problems=problems or {},
        search=search,
        is_empty=not shown,
        list_page=list_page(found[offset : offset + COUNT + 1], offset),
        owner_kinds=OWNER_KINDS,
        periods=_PERIODS,
        owner=context.given("owner") or OwnerKind.USER,
        period=context.given("period") or Period.MONTH,
        name=context.given("name"),
        amount=context.given("amount"),
        zone=context.given("zone") or settings.zone,
        effect=context.given("effect"),
    )
