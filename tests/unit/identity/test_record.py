"""authz.identity.record."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken, generate
from authz.identity.record import TokenRecord, check

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_, _TOKEN = generate()
_GOOD = TokenRecord(
    token_id=_TOKEN.id,
    hashed_secret=_TOKEN.digest,
    expires_at=_NOW,
    token_name="laptop",
    user_id="u1",
    username="alice",
    email="alice@example.com",
    status="active",
    deleted=False,
    is_system=False,
)
# In the order of the check: each also has everything wrong that comes after it.
_WRONG: list[tuple[Rejection, dict[str, Any]]] = [
    (Rejection.USER_SYSTEM, {"is_system": True}),
    (Rejection.USER_INACTIVE, {"status": "dormant"}),
    (Rejection.USER_DELETED, {"deleted": True}),
    (Rejection.WRONG_SECRET, {"hashed_secret": bytes(32)}),
    (Rejection.EXPIRED, {"expires_at": _NOW - timedelta(microseconds=1)}),
]


def test_a_token_is_good_until_its_last_instant() -> None:
    """At ``expires_at`` itself the token is still valid."""
    assert check(_GOOD, _TOKEN, _NOW) == Identity(
        "u1", "alice", "alice@example.com", _TOKEN.id, "laptop", _NOW
    )


def test_no_record() -> None:
    """A token without a record is unknown."""
    assert check(None, _TOKEN, _NOW) is Rejection.UNKNOWN


@pytest.mark.parametrize("depth", range(len(_WRONG)))
def test_the_first_reason_wins(depth: int) -> None:
    """The reason is the first in Coder's order, whatever else is wrong."""
    reason, changes = _WRONG[depth]
    assert check(_GOOD._replace(**changes), _TOKEN, _NOW) is reason
    for _, more in _WRONG[:depth]:
        changes = {**more, **changes}
    assert check(_GOOD._replace(**changes), _TOKEN, _NOW) is reason


@pytest.mark.parametrize("status", ["", "suspended", "ACTIVE", "new"])
def test_only_active_users_pass(status: str) -> None:
    """Any status but ``active`` is refused, also one that is not known."""
    assert check(_GOOD._replace(status=status), _TOKEN, _NOW) is Rejection.USER_INACTIVE


def test_a_short_hash_never_matches() -> None:
    """A stored value that is not a digest matches no token."""
    for stored in (b"", _TOKEN.digest[:31], _TOKEN.digest + b"x"):
        wrong = check(_GOOD._replace(hashed_secret=stored), _TOKEN, _NOW)
        assert wrong is Rejection.WRONG_SECRET
    assert isinstance(check(_GOOD, CoderToken(_TOKEN.id, _TOKEN.digest), _NOW), Identity)
