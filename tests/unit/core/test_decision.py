"""authz.core.decision; the whole matrix of credentials is in tests/conformance."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.credentials import Credentials
from authz.core.decision import decide, own_credential, precheck
from authz.core.decision_types import Allow, ChosenKey, Deny, Exhausted, FurtherKey, Route
from authz.core.header_names import AUTHORIZATION, X_API_KEY
from authz.core.identity import Identity, Rejection
from authz.core.providers import PROVIDER_TYPES
from authz.core.query import QueryCredentials
from authz.core.refusals import Reason
from authz.core.rules import Mode
from authz.core.tokens import CoderToken, parse
from authz.secret import Secret
from tests.support.identities import identity_of

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
OWN = "sk-ant-own-0123456789abcdef"
CENTRAL = "sk-ant-central-0123456789abcdef"
ALICE = identity_of(TOKEN, "alice")
ANTHROPIC = Route("anthropic", PROVIDER_TYPES["anthropic"], supported=True, label="POST /x")
OPENAI = Route("openai", PROVIDER_TYPES["openai"], supported=True, label="POST /x")
COPILOT = Route("copilot", PROVIDER_TYPES["copilot"], supported=True, label="POST /x")
AZURE = Route("azure", PROVIDER_TYPES["azure"], supported=True, label="POST /x")
GEMINI = Route("gemini", PROVIDER_TYPES["gemini"], supported=True, label="POST /x")
BEDROCK = Route("aws", PROVIDER_TYPES["bedrock"], supported=True, label="POST /x", signed=True)
GOVERNED = Credentials(governance=Secret(TOKEN))


def _token() -> CoderToken:
    token = parse(TOKEN)
    assert token is not None
    return token


def _chosen(central: str | None) -> ChosenKey | None:
    return ChosenKey(Secret(central)) if central else None


def _decide(
    credentials: Credentials,
    route: Route = ANTHROPIC,
    verification: Identity | Rejection = ALICE,
    central: str | ChosenKey | Exhausted | None = CENTRAL,
    *,
    allow_byok: bool = True,
) -> Allow | Deny:
    key = _chosen(central) if isinstance(central, str) else central
    return decide(credentials, route, _token(), verification, key, allow_byok=allow_byok)


@pytest.mark.parametrize("rejection", list(Rejection))
@pytest.mark.parametrize("route", [ANTHROPIC, COPILOT, Route(label="GET /"), Route("x")])
def test_every_rejection_is_one_401(rejection: Rejection, route: Route) -> None:
    """Every rejection gives the client the same 401; the true reason is for the log."""
    denied = _decide(GOVERNED, route, rejection)
    assert isinstance(denied, Deny)
    assert (denied.status, denied.error_type, denied.code) == (
        401,
        "authentication_error",
        "token_invalid",
    )
    assert denied.reason is rejection
    assert denied.token_id == TOKEN[:10]
    assert denied.identity is None
    assert denied.message == (
        "The Coder token is not valid. It may have ended or been removed. Create a new one and "
        "try again."
    )


@pytest.mark.parametrize(
    "route",
    [
        Route(label="GET /nope"),
        replace(ANTHROPIC, supported=False, label="GET /nope"),
        Route(type=PROVIDER_TYPES["anthropic"], supported=True, label="GET /nope"),
        Route("anthropic", None, supported=True, label="GET /nope"),
    ],
)
@pytest.mark.parametrize("own", [None, Secret(OWN)])
def test_a_route_that_is_not_served_is_404(route: Route, own: Secret | None) -> None:
    """No credential, central or own, goes to a route that is not served."""
    denied = _decide(replace(GOVERNED, api_key=own), route)
    assert isinstance(denied, Deny)
    assert (denied.status, denied.code) == (404, "route_not_supported")
    assert denied.message == "route not supported: GET /nope"
    assert denied.identity == ALICE


def test_the_central_key_serves_a_governance_token_alone() -> None:
    """Without a credential of the user's own the central key is put in, also when BYOK is off."""
    assert precheck(GOVERNED, ANTHROPIC.type, allow_byok=False) == _token()
    allowed = _decide(GOVERNED)
    assert allowed == Allow(
        identity=ALICE,
        provider="anthropic",
        mode=Mode.CENTRALIZED,
        header=X_API_KEY,
        credential=Secret(CENTRAL),
        hint="sk-a...cdef",
    )
    bearer = _decide(GOVERNED, OPENAI)
    assert isinstance(bearer, Allow)
    assert (bearer.header, bearer.credential) == (AUTHORIZATION, Secret(f"Bearer {CENTRAL}"))
    assert bearer.hint == "sk-a...cdef"


def test_an_own_credential_is_kept_and_never_replaced() -> None:
    """With BYOK the header stays unchanged, with or without a central key."""
    credentials = replace(GOVERNED, api_key=Secret(OWN), token_headers=("x-foo",))
    for central in (CENTRAL, None):
        allowed = _decide(credentials, central=central)
        assert isinstance(allowed, Allow)
        assert (allowed.mode, allowed.header, allowed.credential) == (Mode.BYOK, X_API_KEY, None)
        assert allowed.hint == Secret(OWN).hint
        assert allowed.token_headers == ("x-foo",)


def test_a_central_key_is_never_given_to_a_type_without_one() -> None:
    """Copilot gets the user's own credential or none, even if a central key is passed in."""
    denied = _decide(GOVERNED, COPILOT)
    assert isinstance(denied, Deny)
    assert denied.reason is Reason.CREDENTIAL_REQUIRED
    assert "Authorization: Bearer" in denied.message
    anthropic = _decide(GOVERNED, ANTHROPIC, central=None)
    assert isinstance(anthropic, Deny)
    assert "X-Api-Key or Authorization: Bearer" in anthropic.message


def test_without_byok_nobody_is_told_to_bring_a_key() -> None:
    """If an own credential is required but not allowed, the text names the setting."""
    for route in (COPILOT, replace(ANTHROPIC, central_key=False)):
        denied = _decide(GOVERNED, route, allow_byok=False)
        assert isinstance(denied, Deny)
        assert (denied.status, denied.reason) == (401, Reason.CREDENTIAL_REQUIRED)
        assert "Authorization: Bearer" in denied.message
        assert "allow_byok: false" in denied.message
        assert "send your own" not in denied.message


def test_the_byok_gate_comes_before_the_token() -> None:
    """With BYOK off an own credential gets a 403, for a good, a bad and a one-letter token."""
    for governance in (TOKEN, "no-token", "a", OWN):
        credentials = Credentials(governance=Secret(governance), bearer=Secret(OWN))
        denied = precheck(credentials, ANTHROPIC.type, allow_byok=False)
        assert isinstance(denied, Deny)
        assert (denied.status, denied.error_type) == (403, "permission_error")
        assert "allow_byok" in denied.message
        assert denied.message.startswith("Bring Your Own Key (BYOK)")


def test_without_a_governance_header_there_is_no_byok() -> None:
    """Without a governance header the other two headers are places for a Coder token only."""
    credentials = Credentials(bearer=Secret(TOKEN), api_key=Secret(OWN))
    assert own_credential(credentials, PROVIDER_TYPES["anthropic"]) is None
    assert precheck(credentials, ANTHROPIC.type, allow_byok=False) == _token()
    allowed = _decide(credentials)
    assert isinstance(allowed, Allow)
    assert allowed.mode is Mode.CENTRALIZED


@pytest.mark.parametrize(
    "value",
    [
        TOKEN,
        "Zbcdefghi1-Zbcdefghijklmnopqrstu2",
        f"{'_' * 10}-{'!' * 22}",
        f"prefix{TOKEN}",
        f"{TOKEN}:x",
        "Basic Zbcdefghi1-Zbcdefghijklmnopqrstu2",
        "key=Zbcdefghi1-Zbcdefghijklmnopqrstu2;x",
    ],
)
def test_a_coder_token_is_nobodys_provider_credential(value: str) -> None:
    """A value in a Coder token's form, or with this request's token in it, is not forwarded."""
    for credentials in (
        replace(GOVERNED, bearer=Secret(value)),
        replace(GOVERNED, api_key=Secret(value)),
    ):
        assert own_credential(credentials, PROVIDER_TYPES["anthropic"]) is None
        allowed = _decide(credentials)
        assert isinstance(allowed, Allow)
        assert allowed.credential == Secret(CENTRAL)


def test_a_coder_token_in_one_place_leaves_the_other() -> None:
    """For Anthropic a token in X-Api-Key does not hide a subscription in Authorization."""
    credentials = Credentials(Secret(TOKEN), bearer=Secret(OWN), api_key=Secret(TOKEN))
    own = own_credential(credentials, PROVIDER_TYPES["anthropic"])
    assert own == (AUTHORIZATION, Secret(OWN))


def test_a_token_in_the_url_is_refused_first() -> None:
    """A token in the URL is refused before anything else, for every provider."""
    credentials = replace(GOVERNED, token_headers=("x-foo", ":path"), api_key=Secret(OWN))
    denied = precheck(credentials, None, allow_byok=False)
    assert isinstance(denied, Deny)
    assert (denied.status, denied.reason) == (400, Reason.TOKEN_IN_URL)


_maybe = st.none() | st.sampled_from(
    [Secret(text) for text in (TOKEN, OWN, "x", f"{'_' * 10}-{'_' * 22}", f"Bearer {TOKEN}")]
)
_credentials = st.builds(
    Credentials,
    governance=_maybe,
    bearer=_maybe,
    api_key=_maybe,
    azure_key=_maybe,
    google_key=_maybe,
    others=st.sampled_from([(), (("ocp-apim-subscription-key", Secret(OWN)),)]),
    accounts=st.sampled_from([(), ("openai-project",)]),
    subprotocol_token=st.none() | st.just(Secret(TOKEN)),
    subprotocols=st.sampled_from([None, "", "realtime"]),
)
_routes = st.builds(
    replace,
    st.sampled_from(
        [
            ANTHROPIC,
            OPENAI,
            COPILOT,
            AZURE,
            GEMINI,
            BEDROCK,
            Route(label="GET /"),
            Route("x", None, True),
        ]
    ),
    central_key=st.booleans(),
    keyless=st.booleans(),
    signed=st.booleans(),
    query=st.builds(
        QueryCredentials,
        st.sampled_from([(), ("key",)]),
        st.booleans(),
        st.sampled_from([(), ("userProject",)]),
        st.sampled_from([None, None, "$httpMethod"]),
    ),
    accounts=st.sampled_from([(), (("openai-project", "proj-company"),)]),
)


@given(_credentials, _routes, st.booleans(), st.sampled_from([ALICE, *Rejection]), st.booleans())
def test_what_holds_for_every_allow(
    credentials: Credentials,
    route: Route,
    allow_byok: bool,
    verification: Identity | Rejection,
    has_central: bool,
) -> None:
    """An allow needs an identity and a served route, and gives no Coder token away."""
    token = precheck(credentials, route.type, allow_byok=allow_byok, in_query=route.query)
    if isinstance(token, Deny):
        assert token.status in (400, 401, 403)
        return
    central = _chosen(CENTRAL if has_central else None)
    decision = decide(credentials, route, token, verification, central, allow_byok=allow_byok)
    if isinstance(decision, Deny):
        assert decision.status in (400, 401, 404)
        return
    assert decision.identity is verification
    assert route.supported
    assert route.type is not None
    assert not route.query.hidden
    assert route.query.override is None
    is_central = decision.mode is Mode.CENTRALIZED
    assert decision.query == route.query.plain + (route.query.accounts if is_central else ())
    assert {*credentials.accounts} <= {*decision.token_headers} or not is_central
    if decision.header is None:
        assert decision.credential is None
        if decision.mode is Mode.CENTRALIZED:
            assert route.type.signed
            assert route.signed
            assert route.central_key
        else:
            assert route.keyless
        return
    sent = decision.credential or credentials.named(decision.header)
    assert sent is not None
    assert TOKEN not in sent.reveal()
    if decision.mode is Mode.BYOK:
        assert allow_byok
        assert credentials.governance is not None
        assert decision.header in route.type.own_headers
    else:
        assert sent.reveal().removeprefix("Bearer ") == CENTRAL
        assert decision.header == route.type.central_header
        assert route.central_key


@pytest.mark.parametrize(
    ("route", "credentials"),
    [
        (AZURE, Credentials(azure_key=Secret(TOKEN))),
        (GEMINI, Credentials(google_key=Secret(TOKEN))),
    ],
    ids=["azure", "gemini"],
)
def test_a_token_where_the_sdk_puts_its_key(route: Route, credentials: Credentials) -> None:
    """The token counts there only on routes of that type, and after all other places."""
    assert precheck(credentials, route.type, allow_byok=False) == _token()
    allowed = _decide(credentials, route)
    assert isinstance(allowed, Allow)
    assert allowed.credential == Secret(CENTRAL)
    for other in (ANTHROPIC, OPENAI, COPILOT, BEDROCK):
        missing = precheck(credentials, other.type, allow_byok=True)
        assert isinstance(missing, Deny)
        assert missing.reason is Reason.TOKEN_MISSING
    for beside in (
        replace(credentials, bearer=Secret("no-token")),
        replace(credentials, api_key=Secret("no-token")),
    ):
        assert precheck(beside, route.type, allow_byok=True) == _token()
    governed = replace(credentials, governance=Secret("no-token"))
    denied = precheck(governed, route.type, allow_byok=True)
    assert isinstance(denied, Deny)
    assert denied.reason is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    ("credentials", "begins", "says"),
    [
        (
            Credentials(bearer=Secret("undefined")),
            "Authorization: Bearer holds no Coder token",
            "send the Coder token in X-Coder-AI-Governance-Token",
        ),
        (
            Credentials(bearer=Secret("sk-ant-oat01-x"), api_key=Secret("sk-ant-x")),
            "Authorization: Bearer and X-Api-Key hold no Coder token",
            "Put your Coder token there",
        ),
        (
            Credentials(governance=Secret(OWN), bearer=Secret(TOKEN)),
            "X-Coder-AI-Governance-Token holds no Coder token",
            "your own credential in the provider's header",
        ),
        (
            Credentials(azure_key=Secret("x")),
            "Api-Key holds no Coder token",
            "Put your Coder token there",
        ),
    ],
)
def test_the_text_says_which_header_holds_no_token(
    credentials: Credentials, begins: str, says: str
) -> None:
    """The text says what to put into the header, and does not quote its value."""
    denied = precheck(credentials, AZURE.type, allow_byok=True)
    assert isinstance(denied, Deny)
    assert (denied.status, denied.code) == (401, "token_invalid")
    assert denied.message.startswith(begins)
    assert says in denied.message
    assert "undefined" not in denied.message
    assert "sk-ant" not in denied.message


@pytest.mark.parametrize("foreign", ["sk-ant-oat01-x", "gho_x", "undefined", OWN])
def test_the_value_that_has_a_tokens_form_is_taken(foreign: str) -> None:
    """A foreign Bearer beside the Coder token is ignored and never forwarded."""
    credentials = Credentials(bearer=Secret(foreign), api_key=Secret(TOKEN))
    assert precheck(credentials, OPENAI.type, allow_byok=False) == _token()
    allowed = _decide(credentials, OPENAI)
    assert isinstance(allowed, Allow)
    assert allowed.credential == Secret(f"Bearer {CENTRAL}")


def test_a_subprotocol_is_the_last_place_of_the_token() -> None:
    """A subprotocol counts if no header has a token; the other ones go to the provider."""
    credentials = Credentials(subprotocol_token=Secret(TOKEN), subprotocols="realtime")
    assert precheck(credentials, OPENAI.type, allow_byok=False) == _token()
    allowed = _decide(credentials, OPENAI)
    assert isinstance(allowed, Allow)
    assert allowed.headers == (("sec-websocket-protocol", "realtime"),)
    other = replace(credentials, bearer=Secret("Zbcdefghi1-Zbcdefghijklmnopqrstu2"))
    first = precheck(other, OPENAI.type, allow_byok=False)
    assert isinstance(first, CoderToken)
    assert first.id == "Zbcdefghi1"
    alone = _decide(replace(credentials, subprotocols=""), OPENAI)
    assert isinstance(alone, Allow)
    assert (alone.headers, alone.token_headers) == ((), ("sec-websocket-protocol",))


@pytest.mark.parametrize("header", ["api_key", "bearer"])
def test_a_log_ins_token_goes_as_a_bearer(header: str) -> None:
    """Anthropic refuses it in X-Api-Key, where Claude Code's apiKeyHelper puts it, too."""
    oauth = "sk-ant-oat01-0123456789abcdef"
    where = Credentials(bearer=Secret(oauth))
    if header == "api_key":
        where = Credentials(api_key=Secret(oauth))
    allowed = _decide(replace(where, governance=GOVERNED.governance))
    assert isinstance(allowed, Allow)
    assert (allowed.mode, allowed.header) == (Mode.BYOK, AUTHORIZATION)
    sent = Secret(f"Bearer {oauth}") if header == "api_key" else None
    assert (allowed.credential, allowed.hint) == (sent, Secret(oauth).hint)
    both = _decide(replace(GOVERNED, bearer=Secret(oauth), api_key=Secret(oauth)))
    assert isinstance(both, Allow)
    assert (both.header, both.credential) == (AUTHORIZATION, Secret(f"Bearer {oauth}"))


def test_headers_that_choose_an_account() -> None:
    """A central key comes with the configuration's account headers, an own key with the user's."""
    route = replace(OPENAI, accounts=(("openai-project", "proj-company"),))
    credentials = replace(GOVERNED, accounts=("openai-organization", "openai-project"))
    central = _decide(credentials, route)
    assert isinstance(central, Allow)
    assert central.token_headers == ("openai-organization", "openai-project")
    assert central.headers == (("openai-project", "proj-company"),)
    own = _decide(replace(credentials, bearer=Secret(OWN)), route)
    assert isinstance(own, Allow)
    assert (own.token_headers, own.headers) == ((), ())


def test_an_own_key_in_the_query() -> None:
    """A key in the query is refused if the company would pay instead, and removed otherwise."""
    in_query = QueryCredentials(("key",), accounts=("userProject",))
    route = replace(GEMINI, query=in_query)
    denied = _decide(GOVERNED, route)
    assert isinstance(denied, Deny)
    assert (denied.status, denied.reason) == (400, Reason.KEY_IN_URL)
    assert "(key). Send it in X-Goog-Api-Key or Authorization: Bearer" in denied.message
    gate = precheck(GOVERNED, GEMINI.type, allow_byok=False, in_query=in_query)
    assert isinstance(gate, Deny)
    assert gate.reason is Reason.BYOK_DISABLED
    own = _decide(replace(GOVERNED, google_key=Secret(OWN)), route)
    assert isinstance(own, Allow)
    assert own.query == ("key",)
    central = _decide(Credentials(google_key=Secret(TOKEN)), route)
    assert isinstance(central, Allow)
    assert central.query == ("key", "userProject")


def test_a_query_that_replaces_headers_is_refused() -> None:
    """A query that replaces headers is refused with any credential: it would bypass the rules."""
    route = replace(GEMINI, query=QueryCredentials(override="$httpHeaders"))
    for credentials in (GOVERNED, replace(GOVERNED, google_key=Secret(OWN))):
        denied = _decide(credentials, route)
        assert isinstance(denied, Deny)
        assert (denied.status, denied.reason) == (400, Reason.KEY_IN_URL)
        assert "$httpHeaders" in denied.message


def test_envoy_signs_what_is_centralized() -> None:
    """A centralized request keeps no header; an own credential stays and is not signed."""
    allowed = _decide(GOVERNED, BEDROCK, central=None)
    assert isinstance(allowed, Allow)
    assert (allowed.mode, allowed.header, allowed.credential) == (Mode.CENTRALIZED, None, None)
    assert allowed.hint == "aws"
    own = _decide(replace(GOVERNED, bearer=Secret(OWN)), BEDROCK, central=None)
    assert isinstance(own, Allow)
    assert (own.mode, own.header) == (Mode.BYOK, AUTHORIZATION)
    denied = _decide(GOVERNED, replace(BEDROCK, signed=False), central=CENTRAL)
    assert isinstance(denied, Deny)
    assert denied.reason is Reason.CREDENTIAL_REQUIRED


@pytest.mark.parametrize("route", [ANTHROPIC, OPENAI, BEDROCK])
def test_a_path_without_the_central_key(route: Route) -> None:
    """Only the user's own credential is accepted on such a path."""
    route = replace(route, central_key=False)
    denied = _decide(GOVERNED, route)
    assert isinstance(denied, Deny)
    assert (denied.status, denied.reason) == (401, Reason.CREDENTIAL_REQUIRED)
    assert "not for this path" in denied.message
    assert isinstance(_decide(replace(GOVERNED, bearer=Secret(OWN)), route), Allow)


def test_a_path_that_needs_no_credential() -> None:
    """A good token is enough, and no credential is sent."""
    route = replace(COPILOT, keyless=True)
    for credentials in (GOVERNED, Credentials(bearer=Secret(TOKEN))):
        allowed = _decide(credentials, route)
        assert isinstance(allowed, Allow)
        assert (allowed.header, allowed.credential, allowed.hint) == (None, None, "")
    assert isinstance(_decide(GOVERNED, route, Rejection.EXPIRED), Deny)


def test_a_hidden_key_in_the_query() -> None:
    """A hidden key in the query is refused for every user, after the token is verified."""
    route = replace(GEMINI, query=QueryCredentials(hidden=True))
    denied = _decide(replace(GOVERNED, google_key=Secret(OWN)), route)
    assert isinstance(denied, Deny)
    assert (denied.status, denied.reason, denied.identity) == (400, Reason.KEY_IN_URL, ALICE)
    assert isinstance(_decide(GOVERNED, route, Rejection.EXPIRED), Deny)


def test_nothing_shows_a_secret() -> None:
    """No decision has a credential in its repr."""
    byok = _decide(replace(GOVERNED, api_key=Secret(OWN)))
    texts = [repr(_decide(GOVERNED)), repr(byok), repr(_decide(GOVERNED, COPILOT))]
    texts += [str(precheck(Credentials(api_key=Secret(OWN)), None, allow_byok=True))]
    for secret in (TOKEN[11:], OWN, CENTRAL):
        assert not [text for text in texts if secret in text]


@pytest.mark.parametrize(
    ("keys", "status", "error_type", "reason"),
    [
        (Exhausted(12), 429, "rate_limit_error", Reason.KEYS_LIMITED),
        (Exhausted(None), 502, "api_error", Reason.KEYS_REFUSED),
    ],
)
def test_every_central_key_rests(
    keys: Exhausted, status: int, error_type: str, reason: Reason
) -> None:
    """Exhausted keys give a 429 with a wait, or a 502, but not for own keys or bad tokens."""
    denied = _decide(GOVERNED, central=keys)
    assert isinstance(denied, Deny)
    assert (denied.status, denied.error_type, denied.reason) == (status, error_type, reason)
    assert denied.retry_after == keys.retry_after
    assert denied.identity == ALICE
    own = replace(GOVERNED, api_key=Secret(OWN))
    allowed = _decide(own, central=keys)
    assert isinstance(allowed, Allow)
    assert (allowed.mode, allowed.key_index) == (Mode.BYOK, None)
    bad = _decide(GOVERNED, verification=Rejection.EXPIRED, central=keys)
    assert isinstance(bad, Deny)
    assert bad.status == 401
    no_key = _decide(GOVERNED, replace(ANTHROPIC, central_key=False), central=keys)
    assert isinstance(no_key, Deny)
    assert no_key.status == 401


def test_a_key_of_a_pool_is_named() -> None:
    """The allow has the index of the key that it took."""
    allowed = _decide(GOVERNED, central=ChosenKey(Secret(CENTRAL), 3))
    assert isinstance(allowed, Allow)
    assert allowed.key_index == 3


UNLISTED = replace(ANTHROPIC, own_only=True, central_key=False)


def test_a_path_for_ones_own_credential_only() -> None:
    """An own credential passes there; a Coder token alone gets a 404 and no central key."""
    own = replace(GOVERNED, bearer=Secret("sk-ant-oat01-own"))
    allowed = _decide(own, UNLISTED)
    assert isinstance(allowed, Allow)
    assert (allowed.mode, allowed.header, allowed.credential) == (Mode.BYOK, AUTHORIZATION, None)
    for credentials in (GOVERNED, replace(GOVERNED, api_key=Secret(TOKEN))):
        denied = _decide(credentials, UNLISTED)
        assert isinstance(denied, Deny)
        assert (denied.status, denied.code) == (404, "route_not_supported")


COMPAT = Route("local", PROVIDER_TYPES["openai-compat"], supported=True, open=True)


@pytest.mark.parametrize("central", [None, CENTRAL])
def test_a_provider_that_takes_no_credential(central: str | None) -> None:
    """A good token is enough and no credential is sent; an own credential is kept."""
    allowed = _decide(Credentials(bearer=Secret(TOKEN)), COMPAT, central=central)
    assert isinstance(allowed, Allow)
    assert (allowed.mode, allowed.header, allowed.credential) == (Mode.CENTRALIZED, None, None)
    assert allowed.hint == "none"
    byok = _decide(replace(GOVERNED, bearer=Secret("sk-own")), COMPAT, central=central)
    assert isinstance(byok, Allow)
    assert (byok.mode, byok.header, byok.credential) == (Mode.BYOK, AUTHORIZATION, None)
    rejected = _decide(GOVERNED, COMPAT, next(iter(Rejection)), central)
    assert isinstance(rejected, Deny)
    unlisted = _decide(GOVERNED, replace(COMPAT, central_key=False), central=central)
    assert isinstance(unlisted, Deny)
    assert unlisted.status == 401


def test_a_websocket_on_a_path_without_one() -> None:
    """A token's owner learns that there is no WebSocket; any other client gets a 401."""
    route = replace(ANTHROPIC, supported=False, websocket_refused=True)
    credentials = Credentials(api_key=Secret(TOKEN))
    decision = decide(credentials, route, _token(), ALICE, _chosen(CENTRAL), allow_byok=True)
    assert isinstance(decision, Deny)
    assert (decision.status, decision.reason) == (426, Reason.BAD_REQUEST)
    assert decision.identity == ALICE
    stranger = decide(credentials, route, _token(), Rejection.UNKNOWN, None, allow_byok=True)
    assert isinstance(stranger, Deny)
    assert stranger.status == 401


@pytest.mark.parametrize("central", [CENTRAL, None])
def test_what_another_envoy_leaves_to_authz(central: str | None) -> None:
    """Authz removes and sets what Envoy's own filters would, with the central and an own key."""
    route = replace(ANTHROPIC, removed=("x-envoy-a", "cookie"), actor=True)
    credentials = replace(GOVERNED, api_key=None if central else Secret(OWN))
    decision = decide(credentials, route, _token(), ALICE, _chosen(central), allow_byok=True)
    assert isinstance(decision, Allow)
    assert {"x-envoy-a", "cookie"} <= set(decision.token_headers)
    assert dict(decision.headers) == {
        "x-ai-bridge-actor-id": "uuid-of-alice",
        "x-ai-bridge-actor-metadata-username": "alice",
    }


def test_further_keys_where_the_route_retries() -> None:
    """Only a centralized request on a route with retries gets further keys."""
    other = FurtherKey(Secret("sk-ant-other-0123456789"), 1)
    keys = ChosenKey(Secret(CENTRAL), 0, (other,))
    plain = _decide(GOVERNED, central=keys)
    assert isinstance(plain, Allow)
    assert plain.further == ()
    retried = _decide(GOVERNED, replace(ANTHROPIC, retries=True), central=keys)
    assert isinstance(retried, Allow)
    assert [one.key_index for one in retried.further] == [1]
    own = replace(GOVERNED, api_key=Secret("sk-ant-own-0123456789"))
    byok = _decide(own, replace(ANTHROPIC, retries=True), central=keys)
    assert isinstance(byok, Allow)
    assert (byok.mode, byok.further) == (Mode.BYOK, ())
