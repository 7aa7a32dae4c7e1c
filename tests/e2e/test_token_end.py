"""What clients are told about the end of their token."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from authz.check.ext_authz import TOKEN_END_HEADER
from tests.support.pair import Pair


@pytest.mark.parametrize(("hours", "told"), [(23, True), (25, False)])
def test_within_a_day(gateway: Pair, hours: int, told: bool) -> None:
    """Each response has the end of a token that ends within a day, and no other has it."""
    token = gateway.create_token("alice", timedelta(hours=hours))
    end = datetime.now(UTC) + timedelta(hours=hours)
    for _ in range(2):  # the second decision comes from the cache
        answer = httpx.get(
            f"{gateway.url}/anthropic/v1/models", headers={"x-api-key": token}, timeout=60
        )
        assert answer.status_code == 200
        assert (TOKEN_END_HEADER in answer.headers) is told
        if told:
            said = datetime.fromisoformat(answer.headers[TOKEN_END_HEADER])
            assert abs(said - end) < timedelta(minutes=10)
