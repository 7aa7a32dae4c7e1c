"""List, set and remove budgets."""

from starlette.responses import Response

from authz.budgets.admin import BudgetStore
from authz.budgets.money import parse_dollars
from authz.budgets.periods import Period, open_zone
from authz.budgets.shown import state_json
from authz.config.budgets import Budgets
from authz.identity import roles
from authz.identity.owners import OwnerKind
from authz.web.api.budget_models import SetBudget
from authz.web.api.call import UserCall
from authz.web.api.errors import ApiError, empty, json_response, not_found
from authz.web.owners import GroupRefused, find_owner_id
from authz.web.sign_in import LIMITED_TOKEN

_ONLY_OWNERS = "Only an owner can do this."


async def list_budgets(call: UserCall) -> Response:
    """List budgets with what is spent: all, or those of the caller. authz adds this call."""
    _settings(call)
    budgets = await _store(call)
    if call.access.sees_all_users:
        states = await budgets.list_states()
    else:
        states = await budgets.states_for(call.caller, call.store)
    return json_response(200, [state_json(state) for state in states])


async def set_budget(call: UserCall) -> Response:
    """Set a budget, which every process holds within 2 seconds. authz adds this call."""
    settings = _settings(call)
    _check_owner(call)
    body = await call.read(SetBudget)
    problems: dict[str, str] = {}
    amount, zone = 0, settings.zone if body.zone is None else body.zone
    try:
        amount = parse_dollars(body.amount)
    except ValueError as error:
        problems["amount"] = str(error)
    try:
        open_zone(zone)
    except ValueError as error:
        problems["zone"] = str(error)
    owner_id = await _owner_id(call, body)
    if owner_id is None:
        problems["name"] = f"there is no such {body.owner}"
    if problems or owner_id is None:
        raise ApiError(400, "Validation failed.", validations=problems)
    budgets = await _store(call)
    budget = await budgets.set_budget(
        OwnerKind(body.owner), owner_id, Period(body.period), amount, zone=zone, hard=body.hard
    )
    (state,) = await budgets.states_of([budget])
    return json_response(200, state_json(state))


async def remove_budget(call: UserCall) -> Response:
    """Remove a budget with what is spent of it. authz adds this call."""
    _settings(call)
    _check_owner(call)
    budgets = await _store(call)
    budget = await budgets.find_budget(call.request.path_params["budget"])
    if budget is None or not await budgets.remove_budget(budget):
        raise not_found()
    return empty()


def _settings(call: UserCall) -> Budgets:
    """Return the settings of budgets.

    Raises:
        ApiError: 404 if there are none.
    """
    settings = call.services.config().budgets
    if settings is None:
        raise ApiError(404, "There are no budgets here.", "budgets is not set")
    return settings


async def _store(call: UserCall) -> BudgetStore:
    budgets = call.store.part(BudgetStore)
    await budgets.prepare()
    return budgets


def _check_owner(call: UserCall) -> None:
    if call.is_limited:
        raise ApiError(403, LIMITED_TOKEN)
    if not roles.is_owner(call.caller):
        raise ApiError(403, _ONLY_OWNERS)


async def _owner_id(call: UserCall, body: SetBudget) -> str | None:
    try:
        return await find_owner_id(call.access, OwnerKind(body.owner), body.name)
    except GroupRefused as error:
        raise ApiError(400, "The name is not unique.", str(error)) from None
