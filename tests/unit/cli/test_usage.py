"""authz.cli.usage."""

import asyncio
import csv
import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from authz.cli import usage_export
from authz.errors import ConfigError
from authz.identity.open import open_database
from authz.printable import printable
from authz.usage.entry import Tokens, Usage, UsageEntry
from authz.usage.record import FIELDS
from authz.usage.store import UsageStore

from .conftest import Run

NAMES = ("=1+1", "+1", "-1", "@sum", "\t=1+1", "\r=1+1", "m\nroot  9,999\x1b[2J")


@pytest.fixture
def recorded(run: Run, tmp_path: Path) -> Callable[..., None]:
    """Record a request for each of the models, in the identity store."""
    run("users", "create", "alice")

    async def work(models: tuple[str | UsageEntry, ...]) -> None:
        store = UsageStore(await open_database(f"sqlite:///{tmp_path}/.authz/identity.db"))
        await store.prepare()
        await store.add(
            _entry(number, model) if isinstance(model, str) else model
            for number, model in enumerate(models)
        )
        await store.close()

    return lambda *models: asyncio.run(work(models))


def _entry(number: int, model: str) -> UsageEntry:
    return UsageEntry(
        id=f"0123456789ab-{number:012}",
        time_ms=int(time.time() * 1000),
        decision="allow",
        status=200,
        usage=Usage.COMPLETE,
        duration_ms=1,
        model=model,
        tokens=Tokens(input=1, output=1),
    )


def test_a_name_forges_no_row(run: Run, recorded: Callable[..., None]) -> None:
    """The table has one line for each model, also of rows from before names were cleaned."""
    recorded(*NAMES)
    table = run("usage", "--by", "model").stdout
    assert table.count("\n") == 1 + len(NAMES)
    assert all(line.isprintable() for line in table.splitlines())


def test_a_name_is_no_formula(run: Run, recorded: Callable[..., None]) -> None:
    """In CSV each name is a cell of its own that a spreadsheet takes for text."""
    recorded(*NAMES)
    text = run("usage", "--by", "model", "-o", "csv").stdout
    names = [row[0] for row in csv.reader(io.StringIO(text))][1:]
    assert len(names) == len(NAMES)
    assert not [name for name in names if name.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {"'=1+1", "'@sum"} <= set(names)


@pytest.fixture
def priced(recorded: Callable[..., None], tmp_path: Path) -> None:
    """Record a request of each owner of a key, and one whose model has no price."""
    (tmp_path / "gateway.yaml").write_text(
        "prices: {overrides: [{model: cheap, input: 1, output: 2}]}\n"
    )
    one = replace(_entry(1, "claude"), provider="anthropic", mode="centralized", username="alice")
    recorded(
        replace(one, cost=1_234_567_890),
        replace(one, id="0123456789ab-000000000002", mode="byok", cost=2_000),
        replace(one, id="0123456789ab-000000000003", model="unheard", provider="openai"),
        replace(one, id="0123456789ab-000000000004", model="cheap", username="bob"),
    )


@pytest.mark.usefixtures("priced")
def test_costs_are_shown_with_own_keys_apart(run: Run) -> None:
    """The table has both costs for people, CSV and JSON the exact amounts in dollars."""
    result = run("usage", "--cost")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[1][0] == "alice"
    assert rows[1][-3:] == ["$1.23", "<$0.0001", "1"]
    text = run("usage", "--cost", "-o", "csv").stdout
    first = next(iter(csv.DictReader(io.StringIO(text))))
    assert (first["cost_usd"], first["own_cost_usd"]) == ("1.234567890", "0.000002000")
    objects = json.loads(run("usage", "--cost", "-o", "json").stdout)
    assert (objects[0]["cost_usd"], objects[1]["cost_usd"]) == (1.23456789, 0.0)
    assert "cost_usd" not in run("usage", "-o", "json").stdout


@pytest.mark.usefixtures("priced")
def test_models_without_a_price_are_named_and_priced_later(run: Run) -> None:
    """`usage --cost` names the model that lacks a price; `usage price` prices the others."""
    told = run("usage", "--cost").stderr
    assert "These models have no price: openai/unheard (1)." in told
    assert "1 requests were recorded before their price was known" in told
    result = run("usage", "price")
    assert result.stdout == "Computed the cost of 1 requests.\n"
    assert "openai/unheard" in result.stderr
    assert "before their price" not in run("usage", "--cost").stderr
    objects = json.loads(run("usage", "--cost", "--by", "model", "-o", "json").stdout)
    costs = {one["model"]: (one["cost_usd"], one["unpriced"]) for one in objects}
    assert costs["cheap"] == (0.000003, 0)
    assert costs["unheard"] == (0.0, 1)


def test_without_prices_the_setting_is_named(run: Run, recorded: Callable[..., None]) -> None:
    """Without the section, `--cost` and `price` say what to add."""
    recorded("claude")
    assert "add the section prices to gateway.yaml" in run("usage", "--cost").stderr
    result = run("usage", "price", fails=ConfigError)
    assert "prices: is required to compute costs" in str(result.exception)


def test_requests_as_lines(
    run: Run, recorded: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export has every request once, also in several batches, with printable texts."""
    monkeypatch.setattr(usage_export, "_BATCH", 2)
    recorded(*NAMES)
    printed = run("usage", "export").stdout
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["model"] for line in lines] == [printable(name) for name in NAMES]
    assert all(list(line) == list(FIELDS) for line in lines)
    assert printed.replace("\n", "").isprintable()
