"""authz.model_rules.gate: the refusals, and what passes without a rule."""

import pytest

from authz.config.model_rules import Models
from authz.core.admission import Admission
from authz.core.declared import NO_MODEL, DeclaredRequest
from authz.core.refusals import Reason
from authz.core.rules import Mode
from authz.model_rules.gate import ModelGate
from tests.support.identities import identity_of

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
MODELS = Models.model_validate(
    {"rules": [{"users": ["alice"], "providers": ["anthropic"], "deny": ["*opus*"]}]}
)
GATE = ModelGate(MODELS, ["anthropic", "openai"])


def _asked(declared: DeclaredRequest | None, user: str, provider: str) -> Reason | None:
    identity = identity_of(TOKEN, user)
    denied = GATE.admit(Admission(identity, provider, Mode.BYOK, "id", declared))
    if denied is None:
        return None
    assert (denied.status, denied.identity, denied.token_id) == (400, identity, identity.token_id)
    return Reason(denied.reason)


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        (DeclaredRequest("claude-haiku"), None),
        (NO_MODEL, None),
        (DeclaredRequest("claude-opus"), Reason.MODEL_REFUSED),
        (DeclaredRequest(problem="Not JSON."), Reason.MODEL_UNKNOWN),
        (None, Reason.MODEL_UNKNOWN),
    ],
)
def test_what_a_rule_refuses(declared: DeclaredRequest | None, reason: Reason | None) -> None:
    """A denied or unknown model is refused; without a rule every request passes."""
    assert _asked(declared, "alice", "anthropic") == reason
    assert _asked(declared, "bob", "anthropic") is None
    assert _asked(declared, "alice", "openai") is None


def test_a_token_in_the_place_of_a_model_is_not_quoted() -> None:
    """The message has the model, cut and without anything that looks like a token."""
    identity = identity_of(TOKEN, "alice")
    model = f"opus-{TOKEN}{'x' * 200}"
    admission = Admission(identity, "anthropic", Mode.BYOK, "id", DeclaredRequest(model))
    denied = GATE.admit(admission)
    assert denied is not None
    assert "opus-" in denied.message
    assert TOKEN not in denied.message
    assert len(denied.message) < 300
