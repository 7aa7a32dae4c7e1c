"""A replica that is killed between a reservation and its record, as a real process."""

import subprocess
import sys

from authz.budgets.ledger import Reserved, Spent
from authz.identity.store import Store

from .support import FIRST_COST, LIFE_MS, NOON, Clock, ask, ledger_on, state_of, user_budget, wanted

_REPLICA = f"""\
import asyncio, sys
from authz.budgets.ledger import Ledger, Wanted
from authz.identity.open import open_database

async def now(queries):
    return {NOON}

async def main(url, *budgets):
    ledger = Ledger(await open_database(url), first_cost={FIRST_COST}, life_ms={LIFE_MS}, now=now)
    await ledger.reserve([Wanted("a-0001", "u", "p", budgets)])
    print("reserved", flush=True)
    await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_replica_blocks_its_reservation_and_no_more(
    any_store: Store, store_url: str
) -> None:
    """A killed replica's reservation expires; its record, at another replica, counts once."""
    budget = await user_budget(any_store, FIRST_COST)
    clock = Clock()
    ledger = ledger_on(any_store._database, clock)
    await any_store._database.execute("DELETE FROM budget_usual_costs")
    command = [sys.executable, "-c", _REPLICA, store_url, budget.id]
    # Blocking is all that this test does meanwhile.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as replica:  # noqa: ASYNC220
        assert replica.stdout is not None
        assert replica.stdout.readline() == "reserved\n"
        replica.kill()
    assert isinstance((await ask(ledger, wanted(2, budget)))[0], Spent)
    clock.now_ms += LIFE_MS
    assert (await state_of(ledger, budget)).reserved == 0
    assert isinstance((await ask(ledger, wanted(3, budget)))[0], Reserved)
    # Envoy sends the record to a replica that is left.
    assert [(await ledger.settle({"a-0001": 30})).requests for _ in range(2)] == [1, 0]
    assert (await state_of(ledger, budget)).spent == 30
