"""Strict budgets on a real pair: Envoy reads a request's possible cost before it passes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
import yaml

from tests.support.pair import OWN_KEYS, Pair, Provider, pair, wait_until

_DOLLAR = 10**9
_PRICES = {"overrides": [{"model": "*-priced", "input": 10.0, "output": 100.0}]}
_PRICES |= {"unpriced": "refuse"}  # type: ignore[dict-item]
_CHAT = "/openai/v1/chat/completions"
_RESPONSES = "/openai/v1/responses"
_MESSAGES = "/anthropic/v1/messages"


@pytest.fixture(scope="module")
def strict(provider: Provider) -> Iterator[Pair]:
    """A pair in which alice may spend ten dollars a day, a token costs 10 or 100 microdollars."""
    budgets = {"strict": True, "unseen_input_tokens": 0}
    settings: dict[str, Any] = {"budgets": budgets, "prices": _PRICES}
    with pair(provider, start=False, **settings) as gateway:
        (gateway.folder / "gateway.yaml").write_text(yaml.safe_dump(gateway.settings))
        for name in ("alice", "bob"):
            gateway.create_user(name)
        gateway.command("budgets", "set", "10", "--user", "alice", "--per", "day")
        gateway.start()
        yield gateway


@pytest.fixture(scope="module")
def key(strict: Pair) -> str:
    """A token of alice."""
    return strict.create_token("alice")


def _post(gateway: Pair, key: str, path: str, body: Any, **headers: str) -> httpx.Response:
    gateway.provider.take()
    return httpx.post(f"{gateway.url}{path}", headers={"x-api-key": key, **headers}, json=body)


def _rows(gateway: Pair, sql: str) -> list[Any]:
    file = gateway.folder / gateway.identity.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as connection, connection:
        return connection.execute(sql).fetchall()


def _reserved(gateway: Pair) -> int:
    """Return the amount of the newest reservation."""
    return int(_rows(gateway, "SELECT amount FROM budget_reservations ORDER BY rowid")[-1][0])


@pytest.mark.parametrize(
    ("path", "limit", "tokens"),
    [
        (_MESSAGES, {"max_tokens": 50}, 50),
        (_CHAT, {"max_tokens": 50}, 50),
        (_CHAT, {"max_completion_tokens": 50}, 50),
        (_CHAT, {"max_completion_tokens": 1, "max_tokens": 50}, 50),
        (_CHAT, {"max_tokens": 50, "n": 1}, 50),
        (_CHAT, {"max_tokens": 50, "n": 8}, 400),
        (_CHAT, {"max_tokens": 50, "metadata": {"n": 8}}, 50),
        (_CHAT, {"max_tokens": 50, "n": None}, 50),
        ("/openai/v1/completions", {"max_tokens": 50, "n": 2, "best_of": 4}, 200),
        (_RESPONSES, {"max_output_tokens": 50, "n": 3}, 50),
        ("/openai/v1/embeddings", {"input": "x"}, 0),
    ],
)
def test_what_is_reserved(
    strict: Pair, key: str, path: str, limit: dict[str, Any], tokens: int
) -> None:
    """The reservation covers the body's size as input, and limit times responses as output."""
    body = {"model": "a-priced", "messages": [{"role": "user", "content": "é" * 50}], **limit}
    before = len(_rows(strict, "SELECT 1 FROM budget_reservations"))
    answer = _post(strict, key, path, body)
    (seen,) = strict.provider.take()
    assert answer.status_code != 400 or "gateway" not in answer.text
    size = int(seen.all("content-length")[0])
    assert len(_rows(strict, "SELECT 1 FROM budget_reservations")) == before + 1
    assert _reserved(strict) == (10 * size + 100 * tokens) * 1_000


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (_MESSAGES, {"model": "a-priced"}, "Your budget is strict"),
        (_CHAT, {"model": "a-priced", "max_tokens": None}, "Your budget is strict"),
        (_CHAT, {"model": "a-priced", "max_tokens": "50"}, "whole numbers"),
        (_CHAT, {"model": "a-priced", "max_tokens": 50, "n": "8"}, "whole numbers"),
        (_CHAT, {"model": "a-priced", "max_tokens": 50, "n": 1.5}, "whole numbers"),
        (_CHAT, {"model": "a-priced", "max_tokens": 50, "n": -8}, "whole numbers"),
        (_CHAT, {"model": "a-priced", "max_tokens": 50, "n": True}, "whole numbers"),
        (_CHAT, {"max_tokens": 50}, "this one names none"),
        (_MESSAGES, {"model": "a-free", "max_tokens": 5}, "has no price"),
        (_MESSAGES, [], "this one names none"),
    ],
    ids=str,
)
def test_a_request_without_a_bound_is_refused(
    strict: Pair, key: str, path: str, body: Any, code: str
) -> None:
    """A 400 says what is missing, and nothing reaches the provider."""
    answer = _post(strict, key, path, body)
    assert (answer.status_code, strict.provider.take()) == (400, [])
    assert code in answer.json()["error"]["message"]


def test_a_request_that_could_exceed_the_budget_is_refused(strict: Pair, key: str) -> None:
    """A limit above the rest of the budget is a 429, whatever the usual cost is."""
    body = {"model": "a-priced", "messages": [{"role": "user", "content": "Hello"}]}
    answer = _post(strict, key, _MESSAGES, {**body, "max_tokens": 100_000})
    assert (answer.status_code, strict.provider.take()) == (429, [])
    assert _post(strict, key, _MESSAGES, {**body, "max_tokens": 10}).status_code == 200
    # What was reserved too much is free again as soon as the record is there.
    open_rows = "SELECT 1 FROM budget_reservations WHERE charged IS NULL"
    wait_until(lambda: not _rows(strict, open_rows), what="the records")
    (spent,) = _rows(strict, "SELECT spent FROM budget_spending")[0]
    assert 0 < spent < _DOLLAR


def test_requests_without_a_budget(strict: Pair, key: str) -> None:
    """Users without a budget, own keys, and paths without a model need no limit."""
    body = {"model": "a-priced", "messages": [{"role": "user", "content": "Hello"}]}
    bob = strict.create_token("bob")
    assert "strict" not in _post(strict, bob, _MESSAGES, body).text
    assert len(strict.provider.take()) == 1
    own = {"x-coder-ai-governance-token": key}
    _post(strict, OWN_KEYS["anthropic"], _MESSAGES, body, **own)
    assert len(strict.provider.take()) == 1
    before = len(_rows(strict, "SELECT 1 FROM budget_reservations"))
    models = httpx.get(f"{strict.url}/anthropic/v1/models", headers={"x-api-key": key})
    assert models.status_code == 200
    assert len(_rows(strict, "SELECT 1 FROM budget_reservations")) == before
