"""authz.metrics: its counts, and that no client can make the number of series grow."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from authz.check.authorizer import Authorizer
from authz.config.settings import Config
from authz.core.tokens import generate
from authz.errors import IdentityUnavailable
from authz.metrics import Metrics
from tests.support.checks import question
from tests.support.identities import InMemoryIdentities

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"


def _series(metrics: Metrics) -> list[str]:
    lines = metrics.text().decode().splitlines()
    return [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]


async def _ask(authorizer: Authorizer, count: int) -> None:
    for number in range(count):
        token = str(generate()[1])
        path = f"/anthropic/v1/{token}/{number}"
        await authorizer.check(question([("x-api-key", token)], path=path))


def test_random_tokens_make_no_series() -> None:
    """A hundred thousand random tokens and paths leave the number of series as it is."""
    metrics = Metrics()
    authorizer = Authorizer(Config(), InMemoryIdentities({}), metrics=metrics)
    asyncio.run(_ask(authorizer, 1))
    before = _series(metrics)
    asyncio.run(_ask(authorizer, 100_000 if os.environ.get("AUTHZ_SOAK") else 10_000))
    assert _series(metrics) == before


def test_durations_and_health() -> None:
    """Each check and each answer of the source is timed; one without an answer is counted."""
    source = InMemoryIdentities({TOKEN: "alice"})
    metrics = Metrics()
    authorizer = Authorizer(Config(), source, metrics=metrics)
    message = question([("x-api-key", TOKEN)])

    def value(name: str) -> float | None:
        return metrics.registry.get_sample_value(name)

    asyncio.run(authorizer.check(message))
    assert value("authz_check_duration_seconds_count") == 1
    assert value("authz_identity_lookup_duration_seconds_count") == 1
    source.failure = IdentityUnavailable("away")
    asyncio.run(authorizer.check(message))
    assert value("authz_check_duration_seconds_count") == 2
    assert value("authz_identity_lookup_duration_seconds_count") == 1
    assert value("authz_identity_lookup_failures_total") == 1
    assert value("authz_identity_up") == 0
    source.failure = None
    asyncio.run(authorizer.check(message))
    assert value("authz_identity_up") == 1
    metrics.looked_up_together(32)
    assert value("authz_identity_batch_size_sum") == 32


def test_cooldowns_of_keys() -> None:
    """A key has the cooldown that began last, until it is over."""
    metrics = Metrics()
    assert metrics.cooldowns() == {}
    before = time.time()
    metrics.cooldown_began("anthropic", 1, 401, 3600)
    metrics.cooldown_began("anthropic", 1, 429, 60)
    cooldown = metrics.cooldowns()["anthropic", 1]
    assert (cooldown.status, 60 <= cooldown.end - before < 3600) == (429, True)
    metrics.cooldown_began("anthropic", 1, 429, 0)
    assert metrics.cooldowns()["anthropic", 1].end == 0


def test_cooldowns_of_all_workers(tmp_path: Path) -> None:
    """A worker knows the cooldowns of another one, and of two the later end counts."""
    script = (
        "import os, sys, time\n"
        "from authz.metrics import Metrics\n"
        "metrics = Metrics()\n"
        "metrics.cooldown_began('anthropic', 0, 429, 60)\n"
        "if os.fork() == 0:\n"
        "    Metrics().cooldown_began('anthropic', 0, 429, 3600)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(metrics.cooldowns()['anthropic', 0].end - time.time() > 60)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "True\n"
