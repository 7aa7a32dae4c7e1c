"""Measure one authz process with more and more tokens, budgets and rules; see ``bench.growth``."""

import gc
import os
import sqlite3
import time
import uuid
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from authz.assigned.current import AssignedRules
from authz.assigned.schema import prepare as prepare_rules
from authz.budgets.gate import BudgetGate, Rules
from authz.check.authorizer import Authorizer
from authz.check.ext_authz import metadata_of
from authz.config.settings import Config
from authz.core.tokens import generate
from authz.database.sqlite_file import make
from authz.identity.copied import REFRESH_SECONDS
from authz.identity.open import make_store, open_database, open_source
from authz.identity.schema import IDENTITY
from bench.growth_database import watched
from bench.questions import check_question
from tests.support.postgres import PostgresServer

_TIMES = 20


async def copies(server: PostgresServer, counts: tuple[int, ...]) -> list[dict[str, float]]:
    """Read budgets and assigned rules as each process does every ``REFRESH_SECONDS``."""
    found = []
    for count in counts:
        name = server.database()
        url = server.url(name)
        await make_store(url)
        opens = partial(open_database, url)
        gate, rules = BudgetGate(opens, Rules(first_cost=1_000)), AssignedRules(opens)
        await gate.refresh()
        database = await open_database(url)
        await prepare_rules(database)
        await database.close()
        server.sql(
            name,
            "INSERT INTO users (id, username, status, created_at, updated_at)"  # noqa: S608
            " SELECT md5(n::text)::uuid, 'user' || n, 'active', now(), now()"
            f" FROM generate_series(1, {count}) n",
            "INSERT INTO budgets (id, user_id, period, zone, amount, hard)"
            " SELECT md5(id::text)::uuid, id, 'month', 'UTC', 100, true FROM users",
            "INSERT INTO assigned_rules (user_id, kind, value)"
            " SELECT id, 'requests_per_minute', '60' FROM users",
            "ANALYZE",
        )
        postgres, memory = watched(server), _resident_mb()
        await gate.refresh()
        await rules.refresh()
        before, cpu = postgres.cpu_seconds(), time.process_time()
        for _ in range(_TIMES):
            await gate.refresh()
            await rules.refresh()
        share = _TIMES * REFRESH_SECONDS
        one = {
            "rows": count,
            "authz_cores": (time.process_time() - cpu) / share,
            "postgres_cores": (postgres.cpu_seconds() - before) / share,
            "authz_mb": _resident_mb() - memory,
        }
        server.sql(
            name, "UPDATE budgets SET amount = 101", "UPDATE assigned_rules SET value = '61'"
        )
        cpu = time.process_time()
        await gate.refresh()
        await rules.refresh()
        found.append(one | {"change_ms": (time.process_time() - cpu) * 1000})
        await gate.stop(1)
        await rules.stop()
        server.terminate_connections(name)
        server.sql("postgres", f"DROP DATABASE {name}")
    return found


async def memory(folder: Path, counts: tuple[int, ...]) -> list[dict[str, float]]:
    """Check each of many tokens, and return the memory of the process after some numbers."""
    path, url = folder / "identity.db", f"sqlite:///{folder}/identity.db"
    made = _tokens(path, max(counts))
    key_file = folder / "key"
    key_file.write_text("sk-ant-0123456789abcdef")
    provider: dict[str, Any] = {
        "name": "anthropic", "type": "anthropic", "base_url": "https://api.anthropic.com/",
        "key": {"file": str(key_file)},
    }  # fmt: skip
    config = Config.model_validate({"identity": url, "providers": [provider]})
    source = await open_source(url)
    authorizer = Authorizer(config, source)
    gc.collect()
    before, checked, found = _resident_mb(), 0, []
    for count in counts:
        while checked < count:
            answer = authorizer.check(check_question(made[checked]))
            message = await answer if isinstance(answer, Awaitable) else answer
            assert metadata_of(message)["decision"] == "allow"
            checked += 1
        found.append({"tokens": count, "mb": _resident_mb() - before})
    await source.close()
    return found


def _tokens(path: Path, count: int) -> list[str]:
    """Make tokens of as many users, and return their texts."""
    make(path, IDENTITY)
    now = datetime.now(UTC)
    created, ends = (
        one.isoformat(timespec="microseconds") for one in (now, now + timedelta(days=1))
    )
    made = [generate() for _ in range(count)]
    users = [str(uuid.UUID(int=number)) for number in range(count)]
    connection = sqlite3.connect(path)
    with connection:
        connection.executemany(
            "INSERT INTO users (id, username, status, created_at, updated_at)"
            " VALUES (?, ?, 'active', ?, ?)",
            ((user, f"user{number}", created, created) for number, user in enumerate(users)),
        )
        connection.executemany(
            "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, created_at, updated_at,"
            " login_type, token_name) VALUES (?, ?, ?, ?, ?, ?, 'token', 'laptop')",
            (
                (token.id, token.digest, user, ends, created, created)
                for (_, token), user in zip(made, users, strict=True)
            ),
        )
    connection.close()
    return [str(text) for text, _ in made]


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
