"""authz.core.explanation, compared with the decision that a request gets."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.credentials import Credentials
from authz.core.decision import decide, precheck
from authz.core.decision_types import Allow, ChosenKey, Deny, Route
from authz.core.explanation import Gateway, Person, Token, explain
from authz.core.groups import Group
from authz.core.providers import PROVIDER_TYPES
from authz.core.rules import NO_RULES, Mode, TokenRules, make_rules
from authz.secret import Secret
from tests.support.identities import identity_of
from tests.unit.core.test_permissions import _GROUPS, _RULES

_TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
_ALONE = Credentials(governance=Secret(_TOKEN))
_OWN = replace(_ALONE, api_key=Secret("sk-ant-own-0123456789abcdef"))
_ROUTE = Route("anthropic", PROVIDER_TYPES["anthropic"], supported=True, label="POST /x")
_GATEWAY = Gateway("anthropic", is_known=True, has_central=True, allow_byok=True)
_LABS = Group("labs", make_rules(["anthropic"], ["centralized"]))
_OPENAI = Group("openai-only", make_rules(["openai"]))


@given(_RULES, _GROUPS, st.sampled_from(Mode), *[st.booleans()] * 4)
def test_the_explanation_is_the_decision(
    rules: TokenRules,
    groups: list[Group],
    mode: Mode,
    allow_byok: bool,
    has_central: bool,
    has_stored: bool,
    sends_own: bool,
) -> None:
    """The explanation says "allowed" exactly if a request of this mode would pass."""
    gateway = replace(_GATEWAY, allow_byok=allow_byok, has_central=has_central)
    keys = frozenset({"anthropic"} if has_stored else {"openai"})
    person = Person("alice", None, tuple(groups), keys)
    answer = explain(person, Token("ci", rules), gateway, mode)
    # The user's own credential comes with the request or from the store.
    credentials = _OWN if mode is Mode.BYOK and (sends_own or not has_stored) else _ALONE
    token = precheck(credentials, _ROUTE.type, allow_byok=allow_byok)
    if isinstance(token, Deny):
        assert not answer.allowed
        return
    identity = replace(identity_of(_TOKEN, "alice"), rules=rules, memberships=tuple(groups))
    key = ChosenKey(Secret("sk-ant-central")) if has_central else None
    stored = Secret("sk-ant-stored-0123456789") if has_stored else None
    decision = decide(
        credentials, _ROUTE, token, identity, key, allow_byok=allow_byok, stored=stored
    )
    assert answer.allowed == (isinstance(decision, Allow) and decision.mode is mode)


@pytest.mark.parametrize(
    ("person", "token", "gateway", "mode", "allowed", "reasons"),
    [
        (
            Person("alice", None, (_LABS, _OPENAI, Group("all"))),
            Token("ci", make_rules(["anthropic"])),
            _GATEWAY,
            Mode.CENTRALIZED,
            True,
            (
                'The token "ci" allows it: it is limited to anthropic.',
                'The group "labs" allows it: it is limited to anthropic; centralized.',
                'The group "openai-only" does not allow it: it is limited to openai.',
                "One group that allows it is enough.",
                "The gateway has a credential for anthropic.",
            ),
        ),
        (
            Person("alice", "is suspended"),
            Token("ci", NO_RULES, "has expired"),
            replace(_GATEWAY, allow_byok=False),
            Mode.BYOK,
            False,
            (
                "alice is suspended.",
                'The token "ci" has expired.',
                "The gateway does not allow own credentials (allow_byok: false).",
                'The token "ci" has no rules.',
                "No group of alice has rules.",
            ),
        ),
        (
            Person("alice"),
            None,
            replace(_GATEWAY, is_known=False),
            Mode.BYOK,
            False,
            ("The gateway has no provider anthropic.", "No group of alice has rules."),
        ),
        (
            Person("alice", stored_keys=frozenset({"anthropic"})),
            None,
            _GATEWAY,
            Mode.CENTRALIZED,
            False,
            (
                "alice has stored a key for anthropic, which the gateway uses instead of the "
                "company's key: 'authz own-keys remove anthropic --user alice' deletes it.",
                "No group of alice has rules.",
                "The gateway has a credential for anthropic.",
            ),
        ),
        (
            Person("alice", stored_keys=frozenset({"anthropic"})),
            None,
            _GATEWAY,
            Mode.BYOK,
            True,
            (
                "No group of alice has rules.",
                "The gateway allows own credentials (allow_byok: true).",
                "alice has stored a key for anthropic.",
            ),
        ),
        (
            Person("alice"),
            None,
            replace(_GATEWAY, has_central=False),
            Mode.CENTRALIZED,
            False,
            ("The gateway has no central key for anthropic.", "No group of alice has rules."),
        ),
    ],
)
def test_the_sentences(
    person: Person,
    token: Token | None,
    gateway: Gateway,
    mode: Mode,
    allowed: bool,
    reasons: tuple[str, ...],
) -> None:
    """Each rule and setting has a sentence of its own, the refusing settings first."""
    answer = explain(person, token, gateway, mode)
    assert (answer.mode, answer.allowed, answer.reasons) == (mode, allowed, reasons)
    assert answer.as_json() == {"mode": mode, "allowed": allowed, "reasons": list(reasons)}


def test_many_groups_are_counted() -> None:
    """The answer stays short, and says how many of the others allow it."""
    groups = (*(Group(f"g{n:03}", _OPENAI.rules) for n in range(199)), _LABS)
    answer = explain(Person("alice", None, groups), None, _GATEWAY, Mode.CENTRALIZED)
    assert answer.allowed
    assert len(answer.reasons) < 30
    assert "Of 180 more groups with rules, 1 allow it." in answer.reasons
