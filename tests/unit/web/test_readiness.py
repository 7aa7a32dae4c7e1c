"""authz.web.readiness."""

import asyncio

import pytest
import structlog

from authz.errors import IdentityUnavailable
from authz.web.readiness import LASTS_SECONDS, Readiness
from tests.support.identities import InMemoryIdentities
from tests.unit.identity.test_caching_source import Clock


class Slow(InMemoryIdentities):
    """A source that counts questions and answers when the test says so."""

    def __init__(self) -> None:
        super().__init__({})
        self.asked_ready = 0
        self.go = asyncio.Event()

    async def check_ready(self) -> None:
        """Answer when the test says so."""
        self.asked_ready += 1
        await self.go.wait()
        await super().check_ready()


async def test_many_callers_cost_one_question() -> None:
    """Concurrent callers, and those within a second, share one question to the source."""
    source, clock = Slow(), Clock()
    readiness = Readiness(source, clock)
    crowd = [asyncio.create_task(readiness.get()) for _ in range(400)]
    await asyncio.sleep(0)
    crowd[0].cancel()
    await asyncio.sleep(0)
    source.go.set()
    assert await asyncio.gather(*crowd[1:]) == [True] * 399
    clock.now += LASTS_SECONDS - 0.001
    assert await readiness.get()
    assert source.asked_ready == 1
    clock.now += 0.001
    assert await readiness.get()
    assert source.asked_ready == 2


@pytest.mark.parametrize(
    ("failure", "why"),
    [(IdentityUnavailable("it is away"), "it is away"), (ValueError("hunter2"), "ValueError")],
)
async def test_one_line_a_change(failure: Exception, why: str) -> None:
    """The log has a line when readiness is lost and one when it is back, however many ask."""
    source, clock = Slow(), Clock()
    source.go.set()
    readiness = Readiness(source, clock)
    with structlog.testing.capture_logs() as lines:
        for failing in (None, failure, failure, failure, None, None):
            source.failure = failing
            clock.now += LASTS_SECONDS
            assert [await readiness.get() for _ in range(5)] == [failing is None] * 5
    assert [(line["event"], line.get("why")) for line in lines] == [
        ("not ready", why),
        ("ready again", None),
    ]
