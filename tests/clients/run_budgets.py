"""Claude Code with a budget that is used up, and on the next day; run by ``make test-clients``."""

import sqlite3
from contextlib import closing

import pytest
import yaml

from tests.clients.cases import ANSWER, QUICK
from tests.clients.headless import claude_lines, installed, run_at
from tests.clients.running import Ran
from tests.support.pair import Provider, pair

pytestmark = pytest.mark.timeout(1200)
_DAY_MS = 86_400_000


def test_claude_code_shows_the_refusal_and_works_the_next_day(provider: Provider) -> None:
    """Claude Code ends with our text at once instead of retrying, and the next day it answers."""
    there = installed("claude-code")
    prices = {"overrides": [{"model": "*", "input": 0.0, "output": 0.0, "request": 1.0}]}
    with pair(provider, start=False, budgets={}, prices=prices) as gateway:
        (gateway.folder / "gateway.yaml").write_text(yaml.safe_dump(gateway.settings))
        gateway.create_user("alice")
        gateway.command("budgets", "set", "500", "--user", "alice", "--per", "day")
        file = gateway.folder / gateway.identity.removeprefix("sqlite:///")
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(
                "INSERT INTO budget_spending (budget_id, period_ms, spent)"
                " SELECT id, ?, amount FROM budgets",
                (_today_ms(connection),),
            )
        gateway.start()
        token = gateway.create_token("alice")

        def prompt() -> Ran:
            lines = claude_lines(f"{gateway.url}/anthropic")
            return run_at(gateway, "claude-code", lines, there, token)

        provider.take()
        refused = prompt()
        assert refused.status != 0, refused
        said = refused.output + refused.errors
        assert 'The budget of user "alice" has no room for this request' in said, refused
        assert "starts again on" in said, refused
        assert refused.seconds < QUICK, refused
        assert [one for one in provider.take() if one.path.endswith("/v1/messages")] == []
        print(refused)

        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE budget_spending SET period_ms = period_ms - ?", (_DAY_MS,))
        again = prompt()
        assert again.status == 0, again
        assert ANSWER in again.output, again


def _today_ms(connection: sqlite3.Connection) -> int:
    [[midnight]] = connection.execute("SELECT unixepoch('now', 'start of day')").fetchall()
    return int(midnight) * 1000
