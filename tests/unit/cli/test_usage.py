"""authz.cli.usage."""

import asyncio
import csv
import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.identity.open import open_database
from authz.usage.entry import Tokens, Usage, UsageEntry
from authz.usage.store import UsageStore

from .conftest import Run

NAMES = ("=1+1", "+1", "-1", "@sum", "\t=1+1", "\r=1+1", "m\nroot  9,999\x1b[2J")


@pytest.fixture
def recorded(run: Run, tmp_path: Path) -> Callable[..., None]:
    """Record a request for each of the models, in the identity store."""
    run("users", "create", "alice")

    async def work(models: tuple[str, ...]) -> None:
        store = UsageStore(await open_database(f"sqlite:///{tmp_path}/.authz/identity.db"))
        await store.prepare()
        await store.add(_entry(number, model) for number, model in enumerate(models))
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
