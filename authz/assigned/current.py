"""The assigned rules of now, as a running service uses them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from authz.assigned.rule import LIMITS, AssignedRule, RuleKind
from authz.assigned.schema import has_table
from authz.assigned.store import SELECT_RULES, read_rules
from authz.config.model_rules import ModelRule
from authz.database.interface import Database, Queries
from authz.database.kept import Kept
from authz.identity.copied import REFRESH_SECONDS, Copy, repeat
from authz.identity.owners import Owner, OwnerKind, owner_key
from authz.printable import printable


@dataclass(frozen=True, slots=True)
class CurrentRules:
    """All rules at one time.

    Attributes:
        limits: by owner and kind.
        models: rules for models, as those of ``gateway.yaml``.
    """

    limits: Mapping[Owner, Mapping[RuleKind, int]]
    models: tuple[ModelRule, ...]


class AssignedRules:
    """Reads the rules every ``REFRESH_SECONDS``.

    Args:
        open_database: opens the database of identities, which this closes.
    """

    def __init__(self, open_database: Callable[[], Awaitable[Database]]) -> None:
        self._open_database = open_database
        self._database: Database | None = None
        self._has_table = False
        self._kept = Kept(SELECT_RULES, _read_rules)
        self._copy = Copy(self._read)
        self._task: asyncio.Task[None] | None = None

    @property
    def value(self) -> CurrentRules | None:
        """The rules, or None if they are not known now."""
        return self._copy.value

    async def refresh(self) -> None:
        """Read the rules now.

        Raises:
            AuthzError: they can't be read.
        """
        await self._copy.refresh()

    def start(self) -> None:
        """Start reading the rules."""
        work = repeat(self.refresh, REFRESH_SECONDS, "assigned rules")
        self._task = asyncio.create_task(work)

    async def stop(self) -> None:
        """Stop reading, and close the database."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._database is not None:
            await self._database.close()

    async def _read(self) -> CurrentRules:
        if self._database is None:
            self._database = await self._open_database()
        if not self._has_table:
            # Only commands and the page create it, so that a role that only reads is enough here.
            self._has_table = await has_table(self._database)
            if not self._has_table:
                return CurrentRules({}, ())
        return await self._kept.read(self._database)


async def _read_rules(queries: Queries) -> CurrentRules:
    rules = await read_rules(queries)
    return CurrentRules(_limits(rules), _models(rules))


def _limits(rules: Sequence[AssignedRule]) -> Mapping[Owner, Mapping[RuleKind, int]]:
    found: dict[Owner, dict[RuleKind, int]] = {}
    for rule in rules:
        if rule.kind in LIMITS and isinstance(rule.value, int):
            owner = owner_key(rule.owner, rule.owner_id, rule.name)
            found.setdefault(owner, {})[rule.kind] = rule.value
    return found


def _models(rules: Sequence[AssignedRule]) -> tuple[ModelRule, ...]:
    return tuple(_model_rule(rule) for rule in rules if isinstance(rule.value, tuple))


def _model_rule(rule: AssignedRule) -> ModelRule:
    assert isinstance(rule.value, tuple)  # noqa: S101 - by its kind
    key = (rule.owner_id,) if rule.owner is OwnerKind.TOKEN else (printable(rule.name),)
    # The values are checked already, and a name in the database may be longer than in gateway.yaml.
    return ModelRule.model_construct(
        users=key if rule.owner is OwnerKind.USER else (),
        groups=key if rule.owner is OwnerKind.GROUP else (),
        tokens=key if rule.owner is OwnerKind.TOKEN else (),
        allow=rule.value if rule.kind is RuleKind.ALLOW else (),
        deny=rule.value if rule.kind is RuleKind.DENY else (),
    )
