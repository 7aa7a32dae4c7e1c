"""authz.serve.budgets: the start of budgets, and the costs of records."""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from authz.budgets.gate import BudgetGate
from authz.config.settings import Config
from authz.core.rules import Mode
from authz.errors import StartError
from authz.prices.current import CurrentPrices
from authz.serve.budgets import rules_of, settling, start_budgets
from authz.usage.charges import priced
from authz.usage.entry import Tokens, Usage, UsageEntry
from tests.support.postgres_tables import Tables

_ENTRY = UsageEntry(
    id="a-1",
    time_ms=5,
    decision="allow",
    status=200,
    usage=Usage.COMPLETE,
    duration_ms=1,
    provider="anthropic",
    mode=Mode.CENTRALIZED,
    model="claude",
    tokens=Tokens(input=3, output=4),
)


class _Gate:
    """A gate that records what is settled."""

    def __init__(self) -> None:
        self.settled: list[tuple[str, int | None]] = []

    def settle(self, request_id: str, cost: int | None) -> None:
        self.settled.append((request_id, cost))


def _prices(config: Config) -> CurrentPrices:
    return CurrentPrices(config, lambda: config)


def _priced(dollars: float) -> Config:
    override = {"model": "claude", "input": dollars, "output": 0.0}
    return Config.model_validate({"budgets": {}, "prices": {"overrides": [override]}})


def test_a_record_settles_at_the_price_of_its_arrival() -> None:
    """An override that a reload changes counts for the records that come after it."""
    current = [_priced(1.0)]
    prices = CurrentPrices(current[0], lambda: current[0])
    gate, recorded = _Gate(), list[UsageEntry]()

    def record(entry: UsageEntry) -> None:
        assert prices.cost_if_any is not None
        recorded.append(priced(entry, prices.cost_if_any))

    settle = settling(record, cast("BudgetGate", gate))
    settle(replace(_ENTRY))
    current[0] = _priced(2.0)
    settle(replace(_ENTRY, id="a-2"))
    settle(replace(_ENTRY, id="a-3", mode=Mode.BYOK))
    settle(replace(_ENTRY, id="a-4", model="unknown"))
    assert gate.settled == [("a-1", 3_000), ("a-2", 6_000), ("a-4", None)]
    assert [one.id for one in recorded] == ["a-1", "a-2", "a-3", "a-4"]


def test_a_price_that_fails_counts_what_was_reserved() -> None:
    """An error in the prices settles the reserved amount, and is raised for the caller to log."""

    def fail(_: UsageEntry) -> None:
        raise ZeroDivisionError

    gate = _Gate()
    with pytest.raises(ZeroDivisionError):
        settling(fail, cast("BudgetGate", gate))(replace(_ENTRY))
    assert gate.settled == [("a-1", None)]


def test_the_settings_become_rules() -> None:
    """Dollars become nano-dollars without the errors of binary fractions."""
    config = Config.model_validate(
        {"budgets": {"first_cost": 0.29, "reservation_life": "5m", "unavailable": "pass"}}
    )
    assert config.budgets is not None
    rules = rules_of(config.budgets, _prices(config), notifies=True)
    assert (rules.first_cost, rules.life_seconds) == (290_000_000, 300)
    assert rules.passes_uncounted
    assert rules.notifies


async def test_without_the_section_nothing_starts() -> None:
    """A gateway without budgets starts nothing for them."""
    async with AsyncExitStack() as parts:
        assert await start_budgets(Config(), _prices(Config()), lambda: None, parts) is None


async def test_a_database_that_is_away_does_not_stop_the_start(tmp_path: Path) -> None:
    """The service starts and refuses requests until the budgets are known."""
    config = Config.model_validate(
        {"budgets": {}, "identity": f"sqlite:///{tmp_path}/missing/identity.db"}
    )
    with capture_logs() as logs:
        async with AsyncExitStack() as parts:
            gate = await start_budgets(config, _prices(config), lambda: None, parts)
            assert gate is not None
    assert "budgets can't be used" in [one["event"] for one in logs]


async def test_coders_database_is_refused(newer: Tables) -> None:
    """The start fails with Coder's own database, which has no place for budgets."""
    config = Config.model_validate({"budgets": {}, "identity": newer.server.url(newer.name)})
    async with AsyncExitStack() as parts:
        with pytest.raises(StartError, match=r"budgets: needs a store of authz's own"):
            await start_budgets(config, _prices(config), lambda: None, parts)
