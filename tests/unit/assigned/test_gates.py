"""Assigned rules in the gates of limits and models."""

import pytest

from authz.assigned.current import AssignedRules, CurrentRules
from authz.assigned.rule import RuleKind
from authz.config.model_rules import ModelRule, Models
from authz.config.shared_limits import SharedLimits
from authz.core.admission import Admission
from authz.core.decision_types import Deny
from authz.core.declared import DeclaredRequest
from authz.core.rules import Mode
from authz.identity.owners import Owner, OwnerKind
from authz.limits.gate import LimitGate
from authz.limits.memory_store import MemoryStore
from authz.model_rules.gate import ModelGate
from tests.support.identities import identity_of

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
ALICE = identity_of(TOKEN, "alice")


class _Known(AssignedRules):
    """Rules that a test sets; None means that they are not known."""

    given: CurrentRules | None = CurrentRules({}, ())

    def __init__(self) -> None: ...

    @property
    def value(self) -> CurrentRules | None:
        return self.given


@pytest.fixture
def known() -> _Known:
    """No rules at first."""
    return _Known()


def _request(number: int, model: str = "claude-haiku") -> Admission:
    return Admission(ALICE, "anthropic", Mode.CENTRALIZED, f"a-{number}", DeclaredRequest(model))


def _passing(gate: LimitGate) -> int:
    """Return how many of ten requests pass."""
    return sum(gate.admit(_request(number)) is None for number in range(10))


def _gate(known: _Known, **limits: object) -> LimitGate:
    shared = SharedLimits.model_validate(limits)
    return LimitGate(MemoryStore(60_000), shared, assigned=known)


@pytest.mark.parametrize("kind", [OwnerKind.USER, OwnerKind.TOKEN])
def test_an_assigned_limit_replaces_the_configured_one(known: _Known, kind: OwnerKind) -> None:
    """An assigned limit applies from the next request, also without a configured limit."""
    key = ALICE.user_id if kind is OwnerKind.USER else ALICE.token_id
    limited = CurrentRules({Owner(kind, key): {RuleKind.REQUESTS: 3}}, ())
    assert _passing(_gate(known, each_user={"requests_per_minute": 5})) == 5
    known.given = limited
    assert _passing(_gate(known)) == 3
    name = "each_user" if kind is OwnerKind.USER else "each_token"
    assert _passing(_gate(known, **{name: {"requests_per_minute": 5}})) == 3
    assert _passing(_gate(known, **{name: {"requests_per_minute": 1}})) == 3


def test_limits_that_are_not_known(known: _Known) -> None:
    """Requests are refused with 503, or pass within the configured limits, as the setting says."""
    known.given = None
    refused = _gate(known, each_user={"requests_per_minute": 5}).admit(_request(0))
    assert isinstance(refused, Deny)
    assert (refused.status, refused.reason) == (503, "limits_unavailable")
    assert _passing(_gate(known, unavailable="pass", each_user={"requests_per_minute": 5})) == 5


def test_assigned_rules_for_models(known: _Known) -> None:
    """Assigned rules apply with the configured ones, from the next request until removed."""
    gate = ModelGate(Models(assigned=True), ["anthropic"], known)
    assert gate.admit(_request(0, "claude-opus")) is None
    known.given = CurrentRules({}, (ModelRule(users=("alice",), deny=("*opus*",)),))
    refused = gate.admit(_request(1, "claude-opus"))
    assert refused is not None
    assert (refused.status, refused.reason) == (400, "model_not_allowed")
    assert gate.admit(_request(2, "claude-haiku")) is None
    known.given = CurrentRules({}, (ModelRule(users=("bob",), deny=("*opus*",)),))
    assert gate.admit(_request(3, "claude-opus")) is None
    known.given = None
    unknown = gate.admit(_request(4, "claude-haiku"))
    assert unknown is not None
    assert (unknown.status, unknown.reason) == (503, "rules_unavailable")


def test_rules_that_do_not_count(known: _Known) -> None:
    """Without ``models.assigned`` the gate ignores assigned rules, also unknown ones."""
    known.given = None
    models = Models.model_validate({"rules": [{"deny": ["*opus*"]}]})
    gate = ModelGate(models, ["anthropic"], known)
    assert gate.admit(_request(0, "claude-haiku")) is None
