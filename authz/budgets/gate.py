"""Lets requests pass that their budgets have room for, and passes their costs to the ledger.

A process knows which users, groups and tokens have budgets from a copy. The amounts are not in
the copy: each reservation reads them in its transaction. A request without a budget therefore asks
no database.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog

from authz.budgets.announcements import log_announced
from authz.budgets.budget import Budget, State
from authz.budgets.ledger import Ledger, Outcome, Reserved, Spent, Wanted
from authz.budgets.money import MAXIMUM
from authz.budgets.rows import SELECT_BUDGETS, read_budgets
from authz.budgets.schema import prepare
from authz.budgets.strict import Strict
from authz.budgets.wording import no_room
from authz.core.admission import Admission, Answer
from authz.core.decision_types import Deny, refuse
from authz.core.identity import Identity
from authz.core.refusals import Reason
from authz.core.rules import Mode
from authz.database.interface import Database, Dialect, Queries
from authz.database.kept import Kept
from authz.errors import AuthzError, IdentityUnavailable, StoreError
from authz.identity.batch import Batcher
from authz.identity.copied import REFRESH_SECONDS, Copy, repeat
from authz.identity.owners import OwnerKind, owner_key

_log = structlog.get_logger(__name__)

FLUSH_SECONDS = 0.5
BATCH_MAX = 1_000
WAITING_MAX = 100_000
"""The maximum number of costs that wait for the database. Further ones are lost."""
PRUNE_SECONDS = 3600.0
UNAVAILABLE_SECONDS = 2
"""Clients wait this long after a 503."""


_Ids = tuple[str, ...]
_IdsByOwner = Mapping[OwnerKind, Mapping[str, _Ids]]
"""The ids of budgets, by the kind of their owner and by its key (``authz.identity.owners``)."""
_NONE: Mapping[str, _Ids] = {}


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of all budgets.

    Attributes:
        first_cost: the nano-dollars that are reserved while a user's usual cost is unknown.
        life_seconds: the time after which a reservation without a record ends.
        passes_uncounted: let requests with a budget pass while the database can't be used.
        notifies: store notices of budgets that are reached.
        strict: computes what to reserve; None reserves the usual cost.
    """

    first_cost: int
    life_seconds: int = 900
    passes_uncounted: bool = False
    notifies: bool = False
    strict: Strict | None = None


class BudgetGate:
    """Reserves for requests, and settles them.

    Args:
        open_database: opens the database of identities; the gate closes it.
        rules: the settings.
        monotonic: the clock for the age of the copy.
        on_announced: called after a budget was announced.
    """

    def __init__(
        self,
        open_database: Callable[[], Awaitable[Database]],
        rules: Rules,
        monotonic: Callable[[], float] = time.monotonic,
        on_announced: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_announced = on_announced
        self._open_database = open_database
        self._rules = rules
        self._monotonic = monotonic
        self._database: Database | None = None
        self._ledger: Ledger | None = None
        self._kept = Kept(SELECT_BUDGETS, _read_by_owner)
        self._budgets = Copy(self._read, monotonic)
        self._pruned_at = 0.0
        self._waiting: dict[str, int | None] = {}
        # One at a time: transactions of a database run one after the other in any case.
        self._batcher: Batcher[Wanted, Outcome] = Batcher(self._reserve, concurrency=1)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start reading budgets and writing costs."""
        self._tasks = [
            asyncio.create_task(repeat(self.refresh, REFRESH_SECONDS, "budgets")),
            asyncio.create_task(repeat(self.flush, FLUSH_SECONDS, "budgets")),
        ]

    async def stop(self, seconds: float) -> None:
        """Write the waiting costs within a time limit, and close the database."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._batcher.close()
        try:
            async with asyncio.timeout(seconds):
                await self.flush()
        except (TimeoutError, AuthzError):
            _log.error("costs not written to budgets", requests=len(self._waiting))
        if self._database is not None:
            await self._database.close()

    def admit(self, request: Admission) -> Answer | Awaitable[Answer]:
        """Reserve for a request that uses a central key; see ``Gate.admit``."""
        if request.mode is not Mode.CENTRALIZED:
            return None
        if (budgets := self._budgets.value) is None:
            return self._without_database(request.identity)
        if not (ids := _ids_of(request.identity, budgets)):
            return None
        if self._rules.strict is None:
            return self._wait(request, ids)
        most = self._rules.strict.most(request)
        if isinstance(most, Deny):
            return most
        return None if most == 0 else self._wait(request, ids, most)

    def give_back(self, request: Admission) -> None:
        """Give back what a request has reserved that does not pass after all."""
        if request.mode is Mode.CENTRALIZED:
            self.settle(request.request_id, 0)

    async def _wait(
        self, request: Admission, ids: tuple[str, ...], at_most: int | None = None
    ) -> Answer:
        identity = request.identity
        wanted = Wanted(request.request_id, identity.user_id, request.provider, ids, at_most)
        try:
            outcome = await self._batcher.get(wanted)
        except IdentityUnavailable:
            outcome = None
        if outcome is None:
            return self._without_database(identity)
        if isinstance(outcome, Reserved):
            return None
        fields, seconds = no_room(outcome)
        return refuse(Reason.BUDGET_SPENT, fields, identity, identity.token_id, seconds)

    def settle(self, request_id: str, cost: int | None) -> None:
        """Take the cost of a request; None where it is unknown."""
        if cost is not None and not 0 <= cost <= MAXIMUM:
            # The database would refuse it, and with it the costs of other requests.
            _log.error("impossible cost: the budget counts what was reserved")
            cost = None
        if len(self._waiting) < WAITING_MAX:
            # The first record of a request counts, as in the database.
            self._waiting.setdefault(request_id, cost)

    async def refresh(self) -> None:
        """Read which users, groups and tokens have budgets.

        Raises:
            AuthzError: the database can't be used.
        """
        await self._budgets.refresh()

    async def flush(self) -> None:
        """Write the waiting costs.

        Raises:
            AuthzError: the database can't be used; the costs wait for the next time.
        """
        while self._ledger is not None and self._waiting:
            batch = dict(islice(self._waiting.items(), BATCH_MAX))
            settled = await self._ledger.settle(batch)
            for request_id in batch:
                del self._waiting[request_id]
            self._announced(settled.announced)

    async def _reserve(self, batch: Sequence[Wanted]) -> Mapping[Wanted, Outcome]:
        if self._ledger is None:
            raise IdentityUnavailable("the budgets have not been read")
        try:
            outcomes = await self._ledger.reserve(batch)
        except StoreError as error:
            raise IdentityUnavailable(str(error)) from None
        self._announced(
            [one.state for one in outcomes.values() if isinstance(one, Spent) and one.is_news]
        )
        return outcomes

    async def _read(self) -> _IdsByOwner:
        if self._ledger is None:
            database = await self._open_database()
            try:
                await prepare(database)
                if database.dialect is Dialect.SQLITE:
                    # A power failure may undo the last transactions, the end of a process does
                    # not. Otherwise each check would wait until the disk has written.
                    await database.execute("PRAGMA synchronous = NORMAL")
            except BaseException:
                await database.close()
                raise
            self._database = database
            self._ledger = Ledger(
                database,
                first_cost=self._rules.first_cost,
                life_ms=self._rules.life_seconds * 1000,
                notifies=self._rules.notifies,
            )
        assert self._database is not None  # noqa: S101 - set together with the ledger
        now = self._monotonic()
        if now - self._pruned_at > PRUNE_SECONDS:
            await self._ledger.prune()
            self._pruned_at = now
        return await self._kept.read(self._database)

    def _without_database(self, identity: Identity) -> Deny | None:
        if self._rules.passes_uncounted:
            return None
        return refuse(
            Reason.BUDGETS_UNAVAILABLE,
            identity=identity,
            token_id=identity.token_id,
            retry_after=UNAVAILABLE_SECONDS,
        )

    def _announced(self, states: Sequence[State]) -> None:
        for state in states:
            log_announced(state)
        if states:
            self._on_announced()


def _ids_of(identity: Identity, budgets: _IdsByOwner) -> _Ids:
    """Return the budgets of a request, sorted.

    Mostly there are none, so this compares texts in a few dictionaries and creates nothing.
    """
    if not budgets:
        return ()
    found = budgets.get(OwnerKind.USER, _NONE).get(identity.user_id, ()) + budgets.get(
        OwnerKind.TOKEN, _NONE
    ).get(identity.token_id, ())
    if of_groups := budgets.get(OwnerKind.GROUP):
        for name in identity.groups:
            found += of_groups.get(name, ())
    return tuple(sorted(set(found))) if len(found) > 1 else found


async def _read_by_owner(queries: Queries) -> _IdsByOwner:
    return _by_owner(await read_budgets(queries))


def _by_owner(budgets: Sequence[Budget]) -> _IdsByOwner:
    found: dict[OwnerKind, dict[str, _Ids]] = {}
    for one in budgets:
        owner = owner_key(one.kind, one.owner_id, one.name)
        ids = found.setdefault(owner.kind, {})
        ids[owner.key] = (*ids.get(owner.key, ()), one.id)
    return found
