"""Setting and removing assigned rules, with the audit log."""

from collections.abc import Collection, Mapping

import structlog

from authz.assigned.rule import AssignedRule, RuleKind, Value, check_value, read_value, write_value
from authz.assigned.schema import prepare
from authz.database.interface import Queries
from authz.errors import StoreError
from authz.identity import audit
from authz.identity.audit import Action, Change, Resource
from authz.identity.owners import COLUMNS, NAMES, OwnerKind, joins, name_of, read_owner
from authz.identity.store_base import StoreBase

_log = structlog.get_logger(__name__)

SELECT_RULES = (
    f"SELECT r.user_id, r.group_id, r.api_key_id, r.kind, r.value, {NAMES}"  # noqa: S608 - constants
    f" FROM assigned_rules r {joins('r')} WHERE (u.deleted IS NULL OR u.deleted = false)"
)


class AssignedStore(StoreBase):
    """The assigned rules in a database with the identity tables."""

    async def prepare(self) -> bool:
        """Create the table if it is missing; return whether anything changed."""
        return await prepare(self._database)

    async def list_rules(self, kinds: Collection[RuleKind] = tuple(RuleKind)) -> list[AssignedRule]:
        """Return the rules of some kinds, by owner."""
        found = [one for one in await read_rules(self._database) if one.kind in kinds]
        return sorted(found, key=lambda one: (one.owner, one.name, one.owner_id, one.kind))

    async def set_rules(
        self, owner: OwnerKind, owner_id: str, values: Mapping[RuleKind, Value]
    ) -> list[AssignedRule]:
        """Set rules of an owner, all or none, which every process holds within 2 seconds.

        Each replaces an earlier rule of the same kind.

        Raises:
            StoreError: the owner does not exist, or a value is not possible.
        """
        try:
            checked = {kind: check_value(kind, value) for kind, value in values.items()}
        except ValueError as error:
            raise StoreError(str(error)) from None
        column = COLUMNS[owner]
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction)
            name = await name_of(transaction, owner, owner_id)
            rules = [AssignedRule(owner, owner_id, name, *one) for one in checked.items()]
            for rule in rules:
                await transaction.execute(
                    f"INSERT INTO assigned_rules ({column}, kind, value)"  # noqa: S608 - a constant
                    f" VALUES ($1, $2, $3) ON CONFLICT ({column}, kind)"
                    " DO UPDATE SET value = excluded.value",
                    owner_id,
                    str(rule.kind),
                    write_value(rule.value),
                )
                await self._note_rule(transaction, Action.WRITE, rule)
        return rules

    async def remove_rule(self, rule: AssignedRule) -> bool:
        """Remove a rule; return whether it still existed."""
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction)
            gone = await transaction.execute(
                f"DELETE FROM assigned_rules WHERE {COLUMNS[rule.owner]} = $1"  # noqa: S608
                " AND kind = $2",
                rule.owner_id,
                str(rule.kind),
            )
            if gone:
                await self._note_rule(transaction, Action.DELETE, rule)
        return bool(gone)

    async def _note_rule(self, transaction: Queries, action: Action, rule: AssignedRule) -> None:
        fields = {
            "owner": str(rule.owner),
            "owner_id": rule.owner_id,
            "kind": str(rule.kind),
            "value": rule.value,
        }
        username = rule.name if rule.owner is OwnerKind.USER else ""
        change = Change(action, Resource.RULE, rule.owner_id, rule.name, username, fields)
        await audit.record(transaction, self._actor, change)


async def read_rules(queries: Queries) -> list[AssignedRule]:
    """Return all rules.

    Raises:
        StoreError: a rule can't be read, such as one of a later version.
    """
    found = []
    for row in await queries.fetch(SELECT_RULES):
        owner, owner_id, name = read_owner(row)
        try:
            kind = RuleKind(row["kind"])
            value = read_value(kind, row["value"])
        except (ValueError, RecursionError):
            # Without it, a user could do what the rule forbids.
            raise StoreError(f"a rule of {owner} {owner_id} can't be read") from None
        found.append(AssignedRule(owner, owner_id, name, kind, value))
    return found
