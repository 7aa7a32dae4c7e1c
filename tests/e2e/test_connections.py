"""The connections to PostgreSQL of an authz process with everything on, and a shortage of them."""

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import asyncpg
import httpx
import pytest
import yaml

from authz.database.postgres import WRITERS
from authz.identity.open import make_store
from authz.limits.sql_store import LOCK
from tests.support.collector import collector
from tests.support.pair import OWN_KEYS, Provider, wait_until
from tests.support.parts import Parts, parts
from tests.support.postgres import PostgresServer, running_server

_ROLE, _DATABASE = "gateway", "gateway"
_QUEUE = 20
_BODY = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
_CURE = "raise the role's CONNECTION LIMIT or the server's max_connections"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server with a role's database, and a role whose connections can be limited."""
    with running_server() as server:
        server.sql(
            "postgres", f"CREATE ROLE {_ROLE} LOGIN", f"CREATE DATABASE {_DATABASE} OWNER {_ROLE}"
        )
        asyncio.run(make_store(server.url(_DATABASE, user=_ROLE)))
        yield server


@pytest.fixture(scope="module")
def gateway(provider: Provider, postgres: PostgresServer) -> Iterator[Parts]:
    """A gateway that uses PostgreSQL for everything possible, with a short queue of usage rows."""
    with (
        collector() as export,
        parts(
            provider,
            start=False,
            identity=postgres.url(_DATABASE, user=_ROLE),
            limits={"shared": {"each_user": {"requests_per_minute": 1_000_000}}},
            budgets={},
            models={"assigned": True},
            own_keys={"keys": [{"file": "master.key"}]},
            export={"otlp": export.url},
            notices={"webhook": {"url": "http://127.0.0.1:9/", "secret": {"file": "hook.key"}}},
        ) as running,
    ):
        (running.folder / "master.key").write_text("A" * 43 + "=")
        (running.folder / "hook.key").write_text("a-secret-for-the-webhook-of-this-test")
        (running.folder / "gateway.yaml").write_text(yaml.safe_dump(running.settings))
        anthropic = running.settings["providers"][0]
        (running.folder / "second.key").write_text(OWN_KEYS["anthropic"])
        anthropic["keys"] = [anthropic.pop("key"), {"file": str(running.folder / "second.key")}]
        running.command("db", "init")
        running.command("budgets", "set", "1000", "--user", "alice", "--per", "day")
        running.start()
        running.end_authz()
        running.start_authz(
            patch=f"from authz.usage import recorder\nrecorder.WAITING_MAX = {_QUEUE}\n"
            "recorder.RETRY_SECONDS = 0.5"
        )
        yield running


def _post(gateway: Parts, token: str) -> int:
    url = f"{gateway.url}/anthropic/v1/messages"
    return httpx.post(url, headers={"x-api-key": token}, json=_BODY, timeout=60).status_code


def _metric(gateway: Parts, name: str) -> float:
    """Return the sum of a metric over its labels; 0 before the first request."""
    text = httpx.get(f"http://127.0.0.1:{gateway.http_port}/metrics", timeout=60).text
    found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def _wait_for_rows(gateway: Parts, postgres: PostgresServer) -> None:
    """Wait until every earlier request has a row or was dropped."""

    def is_written() -> bool:
        token = gateway.create_token("bob", timedelta(hours=1))
        rows = f"SELECT count(*) FROM usage_entries WHERE token_id = '{token[:10]}'"  # noqa: S608
        assert _post(gateway, token) == 200
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if postgres.sql(_DATABASE, rows) == "1":
                return True
        return False

    # The row of such a request is dropped itself while the queue is full. Envoy has one thread
    # here, so its records come in the order of the requests.
    wait_until(is_written, what="a row")
    # The metric counts a row after it is there.
    wait_until(lambda: _is_queue_empty(gateway), what="the metric")


def _is_queue_empty(gateway: Parts) -> bool:
    """Return whether each request that authz knows of has a row or was dropped."""
    names = ("authz_usage_written_total", "authz_usage_dropped_total")
    recorded = _metric(gateway, "authz_usage_requests_total")
    return recorded <= sum(_metric(gateway, name) for name in names)


def _limit(postgres: PostgresServer, connections: int) -> None:
    postgres.sql("postgres", f"ALTER ROLE {_ROLE} CONNECTION LIMIT {connections}")


@contextlib.contextmanager
def _in_transaction(postgres: PostgresServer, statement: str) -> Iterator[None]:
    """Run a statement, and hold its locks until the block ends."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(postgres.url(_DATABASE)))
        try:
            runner.run(connection.execute(f"BEGIN; {statement}"))
            yield
        finally:
            runner.run(connection.close())


def test_a_process_has_as_many_connections_as_the_check_says(
    gateway: Parts, postgres: PostgresServer
) -> None:
    """Under load with everything on, the server counts as many as ``authz config check`` says."""
    said = gateway.command("config", "check").stdout
    found = re.search(r"note: each authz process has up to (\d+) connections to postgres", said)
    assert found is not None, said
    tokens = [gateway.create_token("alice") for _ in range(4)]
    url = f"{gateway.url}/api/v2/users/me/keys/tokens"

    def has_all() -> bool:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda n: _post(gateway, tokens[n % 4]), range(40))) == {200}
        assert httpx.get(url, headers={"Coder-Session-Token": tokens[0]}).status_code == 200
        return postgres.connections(_DATABASE) >= int(found[1])

    wait_until(has_all, what="all connections")
    assert postgres.connections(_DATABASE) == int(found[1])


def test_a_deleted_token_is_refused_after_a_cut(gateway: Parts, postgres: PostgresServer) -> None:
    """A deletion during a cut is not missed, because each request asks the database again."""
    good, deleted = gateway.create_token("alice"), gateway.create_token("alice")
    assert [_post(gateway, token) for token in (good, deleted)] == [200, 200]
    postgres.terminate_connections(_DATABASE)
    gateway.delete_token(deleted)
    assert [_post(gateway, token) for token in (deleted, good)] == [401, 200]


def test_without_a_connection_for_usage_requests_pass(
    gateway: Parts, postgres: PostgresServer
) -> None:
    """Without a connection for usage, the log names the cure and rows are written afterwards."""
    token = gateway.create_token("bob", timedelta(hours=1))
    _wait_for_rows(gateway, postgres)
    written = _metric(gateway, "authz_usage_written_total")
    writer = _usage_writer(gateway, postgres, token)
    wait_until(lambda: _metric(gateway, "authz_usage_written_total") == written + 1, what="the row")
    of_role = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{_ROLE}'"  # noqa: S608
    # The other clients keep their connections, so the writer cannot open one.
    _limit(postgres, int(postgres.sql("postgres", of_role)) - 1)
    try:
        postgres.sql("postgres", f"SELECT pg_terminate_backend({writer})")
        assert _post(gateway, token) == 200
        wait_until(lambda: _metric(gateway, "authz_usage_database_up") == 0, what="the metric")
        assert _post(gateway, token) == 200
        lines = [line for line in gateway.stderr.splitlines() if "usage can't be written" in line]
        assert _CURE in lines[-1]
    finally:
        _limit(postgres, -1)
    wait_until(lambda: _metric(gateway, "authz_usage_database_up") == 1, 20, "the next try")
    # The record of the second request may come after the first one is written.
    wait_until(
        lambda: _metric(gateway, "authz_usage_written_total") == written + 3, 10, "both rows"
    )


def _usage_writer(gateway: Parts, postgres: PostgresServer, token: str) -> str:
    """Return the process id of PostgreSQL for the connection that writes usage."""
    waiting = (
        "SELECT coalesce(min(pid), 0) FROM pg_stat_activity"  # noqa: S608
        f" WHERE usename = '{_ROLE}' AND wait_event_type = 'Lock'"
    )
    found = "0"

    def is_found() -> bool:
        nonlocal found
        found = postgres.sql("postgres", waiting)
        return found != "0"

    with _in_transaction(postgres, "LOCK TABLE usage_entries IN ACCESS EXCLUSIVE MODE"):
        assert _post(gateway, token) == 200
        wait_until(is_found, what="the writer waiting")
    return found


def test_without_any_connection_requests_are_refused(
    gateway: Parts, postgres: PostgresServer
) -> None:
    """Without any connection nothing passes, the metric is 0, and the log names the cure."""
    token = gateway.create_token("bob", timedelta(hours=1))
    _limit(postgres, 0)
    try:
        postgres.terminate_connections(_DATABASE)
        assert _post(gateway, token) == 503
        assert _metric(gateway, "authz_identity_up") == 0
        ready = f"http://127.0.0.1:{gateway.http_port}/readyz"
        # The answer may be a second old.
        wait_until(lambda: httpx.get(ready, timeout=60).status_code == 503, what="readiness")
        lines = [line for line in gateway.stderr.splitlines() if "source unavailable" in line]
        assert _CURE in lines[-1]
    finally:
        _limit(postgres, -1)
    wait_until(lambda: _post(gateway, token) == 200, what="answers again")


@pytest.mark.parametrize(
    ("lock", "user", "reason"),
    [(WRITERS, "alice", "budgets_unavailable"), (LOCK, "bob", "limits_unavailable")],
    ids=["budgets", "limits"],
)
def test_a_transaction_that_takes_too_long_refuses_a_check(
    gateway: Parts, postgres: PostgresServer, lock: int, user: str, reason: str
) -> None:
    """A check that waits too long for a lock gets 503, and the metric has the reason."""
    token, other = gateway.create_token(user), gateway.create_token("bob")
    # Else its row, and not that of a request during the transaction, could be the one below.
    _wait_for_rows(gateway, postgres)
    written = _metric(gateway, "authz_usage_written_total")
    with _in_transaction(postgres, f"SELECT pg_advisory_xact_lock({lock})"):
        assert _post(gateway, token) == 503
        assert _post(gateway, other) == (200 if reason.startswith("budgets") else 503)
        wait_until(lambda: _metric(gateway, "authz_usage_written_total") > written, what="a row")
    text = httpx.get(f"http://127.0.0.1:{gateway.http_port}/metrics", timeout=60).text
    assert f'reason="{reason}"' in text
    wait_until(lambda: _post(gateway, token) == 200, what="answers again")


def test_usage_rows_above_the_bound_are_counted(gateway: Parts, postgres: PostgresServer) -> None:
    """All requests pass while the table is locked, and the metric counts rows beyond the queue."""
    token = gateway.create_token("bob", timedelta(hours=1))
    _wait_for_rows(gateway, postgres)
    dropped = _metric(gateway, "authz_usage_dropped_total")
    with _in_transaction(postgres, "LOCK TABLE usage_entries"):
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: _post(gateway, token), range(_QUEUE + 10))) == {200}
        wait_until(
            lambda: _metric(gateway, "authz_usage_dropped_total") >= dropped + 10, what="the metric"
        )
    # Until then the queue is full, and would drop the next row too.
    wait_until(lambda: _is_queue_empty(gateway), what="the rows of the queue")
    _wait_for_rows(gateway, postgres)
    assert _metric(gateway, "authz_usage_dropped_total") == dropped + 10
