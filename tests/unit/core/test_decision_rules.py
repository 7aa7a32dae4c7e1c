"""authz.core.decision, for tokens that are limited."""

from dataclasses import replace

import pytest

from authz.core.credentials import Credentials
from authz.core.decision import decide
from authz.core.decision_types import Allow, ChosenKey, Deny, Exhausted, Route, Unreadable
from authz.core.groups import Group
from authz.core.providers import PROVIDER_TYPES
from authz.core.refusals import Reason
from authz.core.rules import NOTHING, Mode, TokenRules, make_rules
from authz.core.tokens import parse
from authz.secret import Secret
from tests.support.identities import identity_of

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
CENTRAL = ChosenKey(Secret("sk-ant-central-0123456789abcdef"))
ALONE = Credentials(governance=Secret(TOKEN))
OWN = replace(ALONE, api_key=Secret("sk-ant-own-0123456789abcdef"))
ANTHROPIC = Route("anthropic", PROVIDER_TYPES["anthropic"], supported=True, label="POST /x")
COPILOT = Route(
    "copilot", PROVIDER_TYPES["copilot"], supported=True, label="GET /_ping", keyless=True
)


def _decide(
    rules: TokenRules,
    credentials: Credentials = ALONE,
    route: Route = ANTHROPIC,
    key: ChosenKey | Exhausted | None = CENTRAL,
) -> Allow | Deny:
    token = parse(TOKEN)
    assert token is not None
    limited = replace(identity_of(TOKEN, "a"), rules=rules)
    return decide(credentials, route, token, limited, key, allow_byok=True)


@pytest.mark.parametrize(
    ("rules", "credentials", "route"),
    [
        (make_rules(["anthropic"], ["central"]), ALONE, ANTHROPIC),
        (make_rules(["openai", "anthropic"]), OWN, ANTHROPIC),
        (make_rules(None, ["byok"]), OWN, ANTHROPIC),
        (make_rules(["copilot"], ["byok"]), ALONE, COPILOT),
    ],
)
def test_what_the_rules_allow_passes(
    rules: TokenRules, credentials: Credentials, route: Route
) -> None:
    """A request within the rules gets the same decision as without rules."""
    without = _decide(make_rules(), credentials, route)
    within = _decide(rules, credentials, route)
    assert isinstance(without, Allow)
    assert isinstance(within, Allow)
    assert replace(within, identity=without.identity) == without


@pytest.mark.parametrize(
    ("rules", "credentials", "route", "reason", "says"),
    [
        (make_rules(["openai"]), ALONE, ANTHROPIC, Reason.RULE_PROVIDER, "limited to openai"),
        (make_rules(["openai"]), OWN, ANTHROPIC, Reason.RULE_PROVIDER, 'provider "anthropic"'),
        (make_rules(None, ["byok"]), ALONE, ANTHROPIC, Reason.RULE_MODE, "company's own key"),
        (make_rules(None, ["central"]), OWN, ANTHROPIC, Reason.RULE_MODE, "limited to centralized"),
        (make_rules(None, ["central"]), ALONE, COPILOT, Reason.RULE_MODE, "your own provider"),
        (NOTHING, ALONE, ANTHROPIC, Reason.RULE_PROVIDER, "limited to none"),
    ],
)
def test_what_the_rules_forbid_is_403(
    rules: TokenRules, credentials: Credentials, route: Route, reason: Reason, says: str
) -> None:
    """The refusal says what the token is limited to, and the log has a reason of its own."""
    denied = _decide(rules, credentials, route)
    assert isinstance(denied, Deny)
    assert (denied.status, denied.error_type, denied.code, denied.reason) == (
        403,
        "permission_error",
        reason,
        reason,
    )
    assert says in denied.message
    assert TOKEN not in repr(denied)
    assert denied.identity is not None


def test_a_limited_token_learns_nothing_of_the_keys() -> None:
    """A token that may not use the central keys does not learn that they rest."""
    denied = _decide(make_rules(None, ["byok"]), key=Exhausted(30))
    assert isinstance(denied, Deny)
    assert denied.reason is Reason.RULE_MODE


def test_what_leads_to_no_provider_has_no_rules() -> None:
    """An unknown path stays a 404."""
    denied = _decide(NOTHING, route=Route(label="GET /"))
    assert isinstance(denied, Deny)
    assert denied.status == 404


def test_where_an_own_credential_is_missing_the_401_stays() -> None:
    """Without a central key, a token for own credentials is told which header to use."""
    denied = _decide(make_rules(None, [Mode.BYOK]), key=None)
    assert isinstance(denied, Deny)
    assert denied.code == "credential_required"


def _decide_for(groups: tuple[Group, ...], credentials: Credentials = ALONE) -> Allow | Deny:
    token = parse(TOKEN)
    assert token is not None
    member = replace(identity_of(TOKEN, "a"), memberships=groups)
    return decide(credentials, ANTHROPIC, token, member, CENTRAL, allow_byok=True)


def test_a_refusal_by_groups_names_them() -> None:
    """The person reads that it is the rule of their group, and which providers it allows."""
    denied = _decide_for((Group("labs", make_rules(["openai"])),))
    assert isinstance(denied, Deny)
    assert (denied.reason, denied.status) == (Reason.GROUP_PROVIDER, 403)
    assert denied.message == (
        'You may not use provider "anthropic": your group "labs" is limited to openai. '
        "Ask your administrator."
    )
    both = (Group("a", make_rules(None, ["central"])), Group("b", make_rules(["openai"])))
    denied = _decide_for(both, OWN)
    assert isinstance(denied, Deny)
    assert denied.reason is Reason.GROUP_MODE
    assert denied.message == (
        "You may not use your own provider credential (byok): none of your groups allows it "
        '("a" is limited to centralized, "b" is limited to openai). Ask your administrator.'
    )


def test_a_refusal_by_many_groups_stays_short() -> None:
    """The refusal names three groups and counts the others."""
    denied = _decide_for(tuple(Group(f"g{n}", NOTHING) for n in range(200)))
    assert isinstance(denied, Deny)
    assert "197 more" in denied.message
    assert len(denied.message) < 300


def test_a_group_that_allows_it_lets_it_pass() -> None:
    """The request is decided as without groups."""
    groups = (Group("a", make_rules(["openai"])), Group("b", make_rules(["anthropic"])))
    allowed, without = _decide_for(groups), _decide_for(())
    assert isinstance(allowed, Allow)
    assert isinstance(without, Allow)
    assert replace(allowed, identity=without.identity) == without


_DELETE = (
    'The request uses the key that you have stored for provider "anthropic". Delete it under '
    "Provider keys on the gateway's page, or ask your administrator to run 'authz own-keys "
    "remove anthropic --user a'. Then the company's key is used."
)


@pytest.mark.parametrize(
    ("rules", "groups", "key", "allow_byok", "message"),
    [
        (None, ["central"], CENTRAL, True, f"limited to centralized. {_DELETE}"),
        (["central"], None, CENTRAL, True, f"limited to centralized. {_DELETE}"),
        (["central"], None, Exhausted(30), True, f"limited to centralized. {_DELETE}"),
        (["central"], None, CENTRAL, False, f"(allow_byok: false). {_DELETE}"),
        (["central"], None, None, True, "limited to centralized. Use another token."),
        (None, ["central"], None, True, "limited to centralized. Ask your administrator."),
        (None, None, None, False, "or ask your administrator to enable it."),
        (["byok"], ["central"], CENTRAL, True, "limited to centralized. Ask your administrator."),
    ],
)
@pytest.mark.parametrize("stored", [Secret("sk-ant-stored-0123456789"), Unreadable("a reason")])
def test_a_refusal_of_a_stored_key_says_how_to_delete_it(
    rules: list[str] | None,
    groups: list[str] | None,
    key: ChosenKey | Exhausted | None,
    allow_byok: bool,
    message: str,
    stored: Secret | Unreadable,
) -> None:
    """The advice appears where the request would use the company's key without the stored one."""
    token = parse(TOKEN)
    assert token is not None
    member = replace(
        identity_of(TOKEN, "a"),
        rules=make_rules(None, rules),
        memberships=(Group("labs", make_rules(None, groups)),),
    )
    denied = decide(ALONE, ANTHROPIC, token, member, key, allow_byok=allow_byok, stored=stored)
    assert isinstance(denied, Deny)
    assert denied.status == 403
    assert denied.message.endswith(message)
    with_own = decide(OWN, ANTHROPIC, token, member, key, allow_byok=True, stored=stored)
    assert isinstance(with_own, Allow) or "own-keys" not in with_own.message
