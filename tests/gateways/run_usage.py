"""Usage of requests through a live Envoy Gateway, from the access log that the manifests set."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateways.envoy_gateway import VERSIONS, LiveEnvoyGateway, live_envoy_gateway
from tests.support import raw
from tests.support.pair import Provider, wait_until

pytestmark = pytest.mark.timeout(600)
BODY = b'{"model":"claude-sonnet-4-5","max_tokens":8,"messages":[{"role":"user","content":"Hi"}]}'


@pytest.fixture(scope="module", params=VERSIONS)
def running(request: pytest.FixtureRequest, provider: Provider) -> Iterator[LiveEnvoyGateway]:
    """A live Envoy Gateway, for each version of Envoy."""
    with live_envoy_gateway(provider, request.param) as started:
        yield started


def _rows(running: LiveEnvoyGateway) -> list[dict[str, Any]]:
    # authz creates the table with its first row.
    with (
        contextlib.suppress(sqlite3.OperationalError),
        sqlite3.connect(running.folder / "identity.db") as database,
    ):
        database.row_factory = sqlite3.Row
        found = database.execute("SELECT * FROM usage_entries ORDER BY time_ms").fetchall()
        return [dict(row) for row in found]
    return []


def test_with_the_access_log(running: LiveEnvoyGateway) -> None:
    """Each request has a row with its user and status, and its tokens are recorded as unknown."""
    token = running.create_token("alice")
    (port,) = running.ports.values()

    def send(path: str, token: str) -> int:
        data = raw.request("POST", path, [("x-api-key", token)], BODY)
        return raw.ask(port, data, timeout=30).status

    assert send("/anthropic/v1/messages", token) == 200
    assert send("/anthropic/v1/messages", token) == 200
    assert send("/anthropic/v1/files", token) == 404
    assert send("/openai/v1/none", token) == 404

    def completed() -> list[dict[str, Any]]:
        return [row for row in _rows(running) if row["username"] == "alice" and row["status"]]

    wait_until(lambda: len(completed()) == 4, 30, "the rows")
    allowed = [row for row in completed() if row["decision"] == "allow"]
    assert [(row["provider"], row["mode"], row["status"]) for row in allowed] == [
        ("anthropic", "centralized", 200)
    ] * 2
    assert all(row["duration_ms"] >= 0 and row["token_id"] for row in allowed)
    shown = json.loads(running.command("usage", "-o", "json").stdout)
    text = json.dumps(shown)
    assert "alice" in text
    assert "have no row yet" not in running.command("usage").stderr
    assert "record dropped" not in running.stderr


def test_without_the_access_log(running: LiveEnvoyGateway) -> None:
    """Requests are counted without the log, and their tokens are recorded as unknown."""
    (proxy,) = (one for one in running.manifests if one["kind"] == "EnvoyProxy")
    token = running.create_token("bob")
    (port,) = running.ports.values()
    telemetry = proxy["spec"].pop("telemetry")
    running.apply()
    try:
        data = raw.request("POST", "/anthropic/v1/messages", [("x-api-key", token)], BODY)

        def is_counted() -> bool:
            return any(row["username"] == "bob" for row in _rows(running))

        assert raw.ask(port, data, timeout=30).status == 200
        wait_until(is_counted, 30, "the row")
        lines = running.command("usage", "--by", "user").stdout.splitlines()
        (line,) = (one.split() for one in lines if one.startswith("bob"))
        assert (line[1], line[-1]) == ("1", "1")
    finally:
        proxy["spec"]["telemetry"] = telemetry
        running.apply()
