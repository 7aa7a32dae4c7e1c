"""authz.metrics: what is counted, and that nobody can make it grow."""

import asyncio
import os

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
