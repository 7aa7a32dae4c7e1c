"""Budgets through a real pair: requests are refused, notices sent, and periods renewed."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import anthropic
import httpx
import openai
import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.browsing import Parsed
from tests.support.pair import OWN_KEYS, Pair, Provider, pair, wait_until
from tests.support.threaded import served

_SECRET = "a-secret-for-the-webhook-of-this-test"
_DAY_MS = 86_400_000
_MESSAGE: Any = {
    "model": "claude-test",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "hello"}],
}


@pytest.fixture(scope="module")
def notices() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The port of a receiver, and the notices that it got."""
    got: list[dict[str, Any]] = []

    async def receive(request: Request) -> Response:
        got.append(await request.json())
        return Response(status_code=204)

    app = Starlette(routes=[Route("/hook", receive, methods=["POST"])])
    with served(app) as port:
        yield port, got


@pytest.fixture(scope="module")
def budgeted(provider: Provider, notices: tuple[int, list[dict[str, Any]]]) -> Iterator[Pair]:
    """A pair in which each request costs a dollar: alice has 7 a day, and bob a cent."""
    webhook = {"url": f"http://127.0.0.1:{notices[0]}/hook", "secret": {"env": "HOOK_SECRET"}}
    prices = {"overrides": [{"model": "*", "input": 0.0, "output": 0.0, "request": 1.0}]}
    settings: dict[str, Any] = {"budgets": {}, "prices": prices, "notices": {"webhook": webhook}}
    with pair(provider, start=False, **settings) as gateway:
        (gateway.folder / "gateway.yaml").write_text(yaml.safe_dump(gateway.settings))
        gateway.environ["HOOK_SECRET"] = _SECRET
        for name, amount in (("alice", "7"), ("bob", "0.01")):
            gateway.create_user(name)
            gateway.command("budgets", "set", amount, "--user", name, "--per", "day")
        gateway.start()
        yield gateway


def _ask(gateway: Pair, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(f"{gateway.url}/anthropic/v1/messages", headers=headers, json=_MESSAGE)


def _query(gateway: Pair, sql: str) -> list[Any]:
    file = gateway.folder / gateway.identity.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as connection, connection:
        return connection.execute(sql).fetchall()


def _wait_for_dollars(gateway: Pair, spent: int) -> None:
    """Wait until the newest period of the only used budget has this amount."""
    newest = "SELECT spent FROM budget_spending WHERE spent > 0 ORDER BY period_ms DESC LIMIT 1"
    wait_until(lambda: _query(gateway, newest) == [(spent * 10**9,)], what=f"${spent} being spent")


def _begin_within_a_day() -> None:
    """Wait for midnight if it is near: a budget begins again then."""
    now = datetime.now(UTC)
    if (now + timedelta(minutes=1)).date() != now.date():
        time.sleep(60)


def test_a_budget_refuses_until_its_next_day(
    budgeted: Pair, notices: tuple[int, list[dict[str, Any]]]
) -> None:
    """A person is refused at the amount with a clear text, and passes again the next day.

    The receiver is told of 50, 85 and 100 percent, once each.
    """
    _begin_within_a_day()
    token = budgeted.create_token("alice")
    key = {"x-api-key": token}
    spent = 0
    for requests, told in ((3, 0), (1, 1), (2, 2), (1, 3)):
        assert [_ask(budgeted, key).status_code for _ in range(requests)] == [200] * requests
        spent += requests
        _wait_for_dollars(budgeted, spent)
        # Notices that wait are sent at the same time, in any order.
        wait_until(lambda told=told: len(notices[1]) == told, 20, f"{told} notices")
    refused = _ask(budgeted, key)
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert refused.status_code == 429
    assert refused.headers["x-should-retry"] == "false"
    assert abs(int(refused.headers["retry-after"]) - (midnight - now).total_seconds()) < 120
    error = refused.json()["error"]
    assert error["type"] == "rate_limit_error"
    assert error["message"].startswith(
        'The budget of user "alice" has no room for this request: $7.00 of $7.00 for today is '
        f"spent or reserved, and a request takes about $1.00. The budget starts again on "
        f"{midnight:%Y-%m-%d} 00:00 (UTC)."
    )
    got = [one["data"] for one in notices[1] if one["type"] == "budget.reached"]
    assert [(one["name"], one["percent"], one["spent"]) for one in got] == [
        ("alice", 50, "$4.00"),
        ("alice", 85, "$6.00"),
        ("alice", 100, "$7.00"),
    ]
    assert budgeted.stderr.count("budget reached") == 3
    assert _SECRET not in budgeted.stderr

    # A request with the person's own key costs the company nothing.
    own = {"x-coder-ai-governance-token": token, "x-api-key": OWN_KEYS["anthropic"]}
    assert _ask(budgeted, own).status_code == 200

    # What was spent becomes that of yesterday, as at midnight.
    for table in ("budget_spending", "budget_reservations"):
        _query(budgeted, f"UPDATE {table} SET period_ms = period_ms - {_DAY_MS}")  # noqa: S608
    assert _ask(budgeted, key).status_code == 200
    _wait_for_dollars(budgeted, 1)


def test_sdks_stop_at_the_refusal(budgeted: Pair, provider: Provider) -> None:
    """The SDKs raise their rate limit error with our text, after one request each."""
    token = budgeted.create_token("bob")
    provider.take()
    before = _refusals(budgeted)
    with (
        anthropic.Anthropic(api_key=token, base_url=f"{budgeted.url}/anthropic") as client,
        pytest.raises(anthropic.RateLimitError, match="has no room for this request"),
    ):
        client.messages.create(**_MESSAGE)
    with (
        openai.OpenAI(api_key=token, base_url=f"{budgeted.url}/openai/v1") as openai_client,
        pytest.raises(openai.RateLimitError, match="has no room for this request"),
    ):
        openai_client.responses.create(model="m", input="hello")
    assert _refusals(budgeted) - before == 2
    assert provider.take() == []


def _refusals(gateway: Pair) -> float:
    """Return the number of requests that a budget has refused."""
    metrics = httpx.get(f"http://127.0.0.1:{gateway.http_port}/metrics").text
    counters = [line for line in metrics.splitlines() if line.startswith("authz_checks_total{")]
    lines = [line for line in counters if 'reason="budget_spent"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_a_budget_that_an_owner_sets_in_the_page(budgeted: Pair) -> None:
    """An owner's budget refuses within seconds, the page shows that, and removing it helps."""
    budgeted.create_user("carol")
    budgeted.command("users", "create", "root", "--admin")
    key = {"x-api-key": budgeted.create_token("carol")}
    root = budgeted.create_token("root")
    with httpx.Client(base_url=budgeted.url, follow_redirects=True) as browser:

        def send(path: str, **fields: str) -> Parsed:
            csrf = Parsed(browser.get(path).text).csrf
            return Parsed(browser.post(path, data={"csrf": csrf, **fields}).text)

        send("/ui/sign-in", token=root)
        form = {"owner": "user", "name": "carol", "amount": "0.01", "period": "day"}
        page = send("/ui/budgets", **form)
        says = 'The budget of user "carol" is now $0.01 a day.'
        assert page.one("p", role="status").text == says
        wait_until(lambda: _ask(budgeted, key).status_code == 429, what="the refusal")
        wait_until(lambda: "budget_spent" in browser.get("/ui/overview").text, what="its record")
        (remove,) = [
            link.attributes["href"]
            for link in Parsed(browser.get("/ui/budgets?search=carol").text).all("a")
            if link.attributes.get("href", "").endswith("/remove")
        ]
        page = send(remove)
        assert page.one("p", role="status").text == 'The budget of user "carol" was removed.'
        wait_until(lambda: _ask(budgeted, key).status_code == 200, what="an answer")
