"""authz.budgets.gate in a real check: refusals, what is not counted, a database that is away."""

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from authz.budgets.admin import BudgetStore
from authz.budgets.gate import BudgetGate, Rules
from authz.budgets.money import MAXIMUM
from authz.budgets.periods import Period
from authz.check.authorizer import Authorizer
from authz.check.ext_authz import metadata_of
from authz.check.readers import CheckReader
from authz.config.settings import Config
from authz.core.identity import IdentitySource
from authz.database.interface import Database
from authz.errors import StoreError
from authz.identity.accounts import User
from authz.identity.copied import STALE_SECONDS
from authz.identity.open import open_database
from authz.identity.owners import OwnerKind
from authz.identity.store import Store
from authz.keys.pool import KeyPool
from authz.secret import Secret
from tests.support.checks import allows, answer, question

from .support import FIRST_COST

CENTRAL = "sk-ant-central-0123456789"


class _Central:
    # The same object each time, as a file's key is, so that decisions are cached.
    _key = Secret(CENTRAL)

    def current(self) -> Secret | None:
        return self._key


class _Switch:
    """Opens the database of a store until a test turns it off, and counts transactions."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.monotonic = 100.0
        self.is_on = True
        self.transactions = 0

    async def open(self) -> Database:
        if not self.is_on:
            raise StoreError("the database is away")
        database = await open_database(self.url)
        transact = database.transact

        async def counted(work: Any) -> Any:
            self.transactions += 1
            if not self.is_on:
                raise StoreError("the database is away")
            return await transact(work)

        database.transact = counted  # type: ignore[method-assign]
        return database


@pytest.fixture
def switch(store_url: str) -> _Switch:
    """The switch in front of the database."""
    return _Switch(store_url)


@pytest.fixture
async def gate(any_store: Store, switch: _Switch) -> AsyncIterator[BudgetGate]:
    """A gate that reads and writes when a test says so."""
    await any_store.part(BudgetStore).prepare()
    await any_store._database.execute("DELETE FROM budget_usual_costs")
    made = BudgetGate(switch.open, Rules(FIRST_COST), lambda: switch.monotonic)
    yield made
    switch.is_on = True
    await made.stop(60)


async def _person(store: Store, name: str = "alice") -> tuple[User, bytes]:
    """Create a user, and return them with a check of a request with their token."""
    user = await store.create_user(name)
    token, _ = await store.create_token(user)
    return user, question([("x-api-key", token)])


def _authorizer(
    source: IdentitySource, gate: BudgetGate, reader: CheckReader | None = None
) -> Authorizer:
    pool = KeyPool("anthropic", [_Central()], has_cooldown=False)
    keys = {"anthropic": pool}
    return Authorizer(Config(), source, keys, gates=[gate], reader=reader)


def _entry(message: bytes) -> str:
    return metadata_of(message)["entry"]


pytestmark = pytest.mark.usefixtures("patient")


async def test_a_used_up_budget_refuses_until_it_starts_again(
    any_store: Store, any_source: IdentitySource, gate: BudgetGate
) -> None:
    """The refusal names the budget, the amounts and the time, and tells SDKs not to retry."""
    user, check = await _person(any_store)
    budgets = any_store.part(BudgetStore)
    await budgets.set_budget(OwnerKind.USER, user.id, Period.MONTH, 1_500_000_000)
    await gate.refresh()
    authorizer = _authorizer(any_source, gate)
    first = await authorizer.check(check)
    assert allows(first)
    gate.settle(_entry(first), 1_490_000_000)
    await gate.flush()

    refused = await authorizer.check(check)
    assert not allows(refused)
    denied = answer(refused).denied_response
    headers = {one.header.key: one.header.value for one in denied.headers}
    assert denied.status.code == 429
    assert headers["x-should-retry"] == "false"
    now = datetime.now(UTC)
    end = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    assert abs(int(headers["retry-after"]) - (end.timestamp() - time.time())) < 600
    error = json.loads(denied.body)["error"]
    assert error["type"] == "rate_limit_error"
    assert error["message"] == (
        'The budget of user "alice" has no room for this request: $1.49 of $1.50 for this month '
        f"is spent or reserved, and a request takes about $1.49. The budget starts again on "
        f"{end:%Y-%m-%d} 00:00 (UTC). Ask your administrator for more."
    )
    assert metadata_of(refused)["reason"] == "budget_spent"
    # Each request has one id, also a refused one.
    assert (_entry(first)[-1], _entry(refused)[-1]) == ("1", "2")


async def test_requests_in_progress_may_give_back(
    any_store: Store, any_source: IdentitySource, gate: BudgetGate
) -> None:
    """If only reservations fill a budget, a client may retry in seconds, and then passes."""
    user, check = await _person(any_store)
    await any_store.part(BudgetStore).set_budget(OwnerKind.USER, user.id, Period.DAY, FIRST_COST)
    await gate.refresh()
    authorizer = _authorizer(any_source, gate)
    first = await authorizer.check(check)
    refused = answer(await authorizer.check(check)).denied_response
    headers = {one.header.key: one.header.value for one in refused.headers}
    assert int(headers["retry-after"]) <= 5
    gate.settle(_entry(first), 0)
    await gate.flush()
    assert allows(await authorizer.check(check))


async def test_only_requests_with_a_budget_ask_the_database(
    any_store: Store, any_source: IdentitySource, gate: BudgetGate, switch: _Switch
) -> None:
    """A request without a budget reserves nothing, and neither does one with an own key."""
    alice, with_budget = await _person(any_store)
    _, without = await _person(any_store, "bob")
    await any_store.part(BudgetStore).set_budget(OwnerKind.USER, alice.id, Period.DAY, 10**9)
    await gate.refresh()
    authorizer = _authorizer(any_source, gate)
    token, _ = await any_store.create_token(alice)
    own = question([("x-coder-ai-governance-token", token), ("x-api-key", "sk-ant-own-012345")])
    before = switch.transactions
    for check in (without, own):
        assert allows(await authorizer.check(check))
    assert switch.transactions == before
    assert allows(await authorizer.check(with_budget))
    assert switch.transactions == before + 1


async def test_budgets_of_groups_and_tokens_count(
    any_store: Store, any_source: IdentitySource, gate: BudgetGate
) -> None:
    """A member of a group shares its budget, and a token may have a budget of its own."""
    alice, first = await _person(any_store)
    bob, second = await _person(any_store, "bob")
    group = await any_store.create_group("research")
    await any_store.add_members(group, [alice, bob])
    budgets = any_store.part(BudgetStore)
    await budgets.set_budget(OwnerKind.GROUP, group.id, Period.WEEK, 2 * FIRST_COST)
    token, key = await any_store.create_token(alice, "ci")
    tight = await budgets.set_budget(OwnerKind.TOKEN, key.id, Period.DAY, FIRST_COST - 1)
    await gate.refresh()
    authorizer = _authorizer(any_source, gate)
    refused = await authorizer.check(question([("x-api-key", token)]))
    assert "budget of token" in answer(refused).denied_response.body
    assert await budgets.remove_budget(tight)
    assert allows(await authorizer.check(first))
    assert allows(await authorizer.check(second))
    refused = await authorizer.check(first)
    assert "budget of group" in answer(refused).denied_response.body


async def test_a_person_moves_between_the_budgets_of_groups(
    any_store: Store, any_source: IdentitySource, gate: BudgetGate
) -> None:
    """A request in progress stays with the group that it began in; the next is the new one's."""
    alice, check = await _person(any_store)
    groups = [await any_store.create_group(name) for name in ("before", "after")]
    await any_store.add_members(groups[0], [alice])
    budgets = any_store.part(BudgetStore)
    ids = [
        (await budgets.set_budget(OwnerKind.GROUP, group.id, Period.DAY, 2 * FIRST_COST)).id
        for group in groups
    ]
    await gate.refresh()
    authorizer = _authorizer(any_source, gate)
    first = await authorizer.check(check)
    await any_store.remove_members(groups[0], [alice])
    await any_store.add_members(groups[1], [alice])
    second = await authorizer.check(check)
    gate.settle(_entry(first), 2 * FIRST_COST)
    gate.settle(_entry(second), 1)
    await gate.flush()
    spent = {one.budget.id: one.spent for one in await budgets.list_states()}
    assert [spent[one] for one in ids] == [2 * FIRST_COST, 1]
    assert allows(await authorizer.check(check))


@pytest.mark.parametrize("passes", [False, True])
async def test_a_database_that_is_away_refuses_unless_told_otherwise(
    any_store: Store, any_source: IdentitySource, switch: _Switch, passes: bool
) -> None:
    """Without the database a budget refuses with 503 by default, and settles costs later."""
    user, check = await _person(any_store)
    await any_store.part(BudgetStore).prepare()
    budgets = any_store.part(BudgetStore)
    await budgets.set_budget(OwnerKind.USER, user.id, Period.DAY, 10**9)
    gate = BudgetGate(
        switch.open, Rules(FIRST_COST, passes_uncounted=passes), lambda: switch.monotonic
    )
    authorizer = _authorizer(any_source, gate)
    # The budgets have not been read.
    assert allows(await authorizer.check(check)) == passes
    await gate.refresh()
    first = await authorizer.check(check)
    assert allows(first)
    switch.is_on = False
    gate.settle(_entry(first), 7)
    with pytest.raises(StoreError):
        await gate.flush()
    away = await authorizer.check(check)
    assert allows(away) == passes
    if not passes:
        denied = answer(away).denied_response
        headers = {one.header.key: one.header.value for one in denied.headers}
        assert (denied.status.code, headers["retry-after"]) == (503, "2")
        assert metadata_of(away)["reason"] == "budgets_unavailable"
    switch.is_on = True
    switch.monotonic += STALE_SECONDS + 1
    assert allows(await authorizer.check(check)) == passes
    await gate.refresh()
    assert allows(await authorizer.check(check))
    await gate.stop(60)
    rows = await any_store._database.fetch("SELECT spent FROM budget_spending")
    assert [row["spent"] for row in rows] == [7]


async def test_a_soft_budget_warns_once(
    any_store: Store, any_source: IdentitySource, gate: BudgetGate
) -> None:
    """The log says once a period that a soft budget is reached, and requests pass."""
    user, check = await _person(any_store)
    budgets = any_store.part(BudgetStore)
    await budgets.set_budget(OwnerKind.USER, user.id, Period.MONTH, 10**9, hard=False)
    await gate.refresh()
    authorizer = _authorizer(any_source, gate)
    with capture_logs() as logs:
        for _ in range(2):
            passed = await authorizer.check(check)
            assert allows(passed)
            gate.settle(_entry(passed), 1_500_000_000)
            await gate.flush()
    said = [one for one in logs if one["event"] == "budget reached"]
    assert [(one["name"], one["percent"], one["spent"]) for one in said] == [
        ("alice", 100, "$1.50")
    ]


async def test_an_impossible_cost_does_not_stop_other_costs(
    any_store: Store, any_source: IdentitySource, gate: BudgetGate
) -> None:
    """A cost that the database would refuse counts as unknown, so what was reserved is spent."""
    user, check = await _person(any_store)
    await any_store.part(BudgetStore).set_budget(OwnerKind.USER, user.id, Period.DAY, 10**9)
    await gate.refresh()
    authorizer = _authorizer(any_source, gate)
    for cost in (-1, MAXIMUM + 1, 30):
        gate.settle(_entry(await authorizer.check(check)), cost)
    await gate.flush()
    (row,) = await any_store._database.fetch("SELECT spent FROM budget_spending")
    assert row["spent"] == 2 * FIRST_COST + 30


async def test_external_gateways_have_no_budgets(
    any_source: IdentitySource, gate: BudgetGate
) -> None:
    """A service with both does not start, because their requests would not be counted."""
    with pytest.raises(ValueError, match="external gateways"):
        _authorizer(any_source, gate, cast("CheckReader", object()))
