"""Credentials beyond the matrix: odd forms, odd places, and users without access."""

from collections.abc import Callable

import pytest

from tests.conformance.values import made_up_token
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, SUBSCRIPTION, Pair
from tests.support.requests import MODELS, check_refusal, leaks, one, shape_of

GOVERNANCE = "X-Coder-AI-Governance-Token"
CENTRAL_ANTHROPIC = [("x-api-key", CENTRAL_KEYS["anthropic"])]
CENTRAL_OPENAI = [("authorization", f"Bearer {CENTRAL_KEYS['openai']}")]


def _suspended(pair: Pair) -> str:
    pair.create_user("suspended")
    token = pair.create_token("suspended")
    pair.set_status("suspended", "suspended")
    return token


def _dormant(pair: Pair) -> str:
    pair.create_user("sleepy")
    token = pair.create_token("sleepy")
    pair.set_status("sleepy", "dormant")
    return token


def _deleted_user(pair: Pair) -> str:
    pair.create_user("gone")
    token = pair.create_token("gone")
    pair.delete_user("gone")
    return token


def _wrong_secret(pair: Pair) -> str:
    return pair.create_token("alice")[:11] + made_up_token()[11:]


@pytest.mark.parametrize(
    "make",
    [_suspended, _dormant, _deleted_user, _wrong_secret, lambda _: made_up_token()],
    ids=["suspended user", "dormant user", "deleted user", "wrong secret", "unknown id"],
)
def test_no_answer_says_why_a_token_is_bad(gateway: Pair, make: Callable[[Pair], str]) -> None:
    """An unknown token, a wrong secret and a token of an inactive user all get the same 401."""
    bad = make(gateway)
    reference = one(gateway, "GET", MODELS["anthropic"], {"x-api-key": made_up_token()})
    exchanged = one(gateway, "GET", MODELS["anthropic"], {"x-api-key": bad})
    error = check_refusal(exchanged, 401, "authentication_error", "anthropic")
    assert error == check_refusal(reference, 401, "authentication_error", "anthropic")
    assert bad[:10] not in exchanged.answer.text
    own = one(
        gateway,
        "GET",
        MODELS["openai"],
        {GOVERNANCE: bad, "authorization": f"Bearer {OWN_KEYS['openai']}"},
    )
    check_refusal(own, 401, "authentication_error", "openai")


def test_no_token_has_a_text_of_its_own(gateway: Pair) -> None:
    """A missing token, another value in its place, and a bad token each get a text of their own."""
    none = one(gateway, "GET", MODELS["openai"])
    key = one(gateway, "GET", MODELS["openai"], {"authorization": "Bearer sk-proj-own"})
    bad = one(gateway, "GET", MODELS["openai"], {"authorization": f"Bearer {made_up_token()}"})
    texts = {
        check_refusal(exchanged, 401, "authentication_error", "openai")["message"]
        for exchanged in (none, key, bad)
    }
    assert len(texts) == 3
    assert "X-Coder-AI-Governance-Token" in none.answer.text
    assert "Authorization: Bearer holds no Coder token" in key.answer.text
    assert "sk-proj" not in key.answer.text


@pytest.mark.parametrize("upstream", ["anthropic", "openai"])
@pytest.mark.parametrize("foreign", ["sk-ant-oat01-x", "gho_x", "undefined"])
def test_a_foreign_bearer_beside_the_token(
    gateway: Pair, token: str, upstream: str, foreign: str
) -> None:
    """A client's old log-in in Authorization does not hide the token in X-Api-Key."""
    headers = {"authorization": f"Bearer {foreign}", "x-api-key": token}
    exchanged = one(gateway, "GET", MODELS[upstream], headers)
    assert exchanged.answer.status_code == 200, exchanged.answer.text
    central = {"anthropic": CENTRAL_ANTHROPIC, "openai": CENTRAL_OPENAI}
    assert exchanged.credentials == central[upstream]


@pytest.mark.parametrize("header", [GOVERNANCE, "x-api-key"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_a_scheme_before_the_token(gateway: Pair, token: str, header: str, scheme: str) -> None:
    """A scheme before the token is ignored, even in headers that need none."""
    exchanged = one(gateway, "GET", MODELS["openai"], {header: f"{scheme} {token}"})
    assert exchanged.answer.status_code == 200, exchanged.answer.text
    assert exchanged.credentials == CENTRAL_OPENAI


def test_a_scheme_before_somebody_elses_token(gateway: Pair, token: str) -> None:
    """Another person's Coder token with any scheme is not a provider credential."""
    other = gateway.create_token("bob")
    for value in (f"Bearer {other}", f"Token {other}", f"key={other}"):
        exchanged = one(
            gateway, "GET", MODELS["anthropic"], {GOVERNANCE: token, "x-api-key": value}
        )
        assert exchanged.credentials == CENTRAL_ANTHROPIC


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
@pytest.mark.parametrize("name", [b"Authorization", b"authorization", b"AUTHORIZATION"])
def test_case_does_not_matter(gateway: Pair, token: str, name: bytes, scheme: str) -> None:
    """Scheme and header name are case-insensitive."""
    exchanged = one(gateway, "GET", MODELS["openai"], [(name, f"{scheme} {token}".encode())])
    assert exchanged.answer.status_code == 200
    assert exchanged.credentials == CENTRAL_OPENAI


@pytest.mark.parametrize("name", [b"X-API-KEY", b"x-api-key", b"X-CODER-AI-GOVERNANCE-TOKEN"])
def test_case_of_the_other_sources_does_not_matter(gateway: Pair, token: str, name: bytes) -> None:
    """The names of headers with raw tokens are case-insensitive."""
    exchanged = one(gateway, "GET", MODELS["anthropic"], [(name, token.encode())])
    assert exchanged.credentials == CENTRAL_ANTHROPIC


@pytest.mark.parametrize("upstream", ["anthropic", "openai"])
@pytest.mark.parametrize("value", ["Basic dXNlcjpwYXNz", "{token}", "Bearer a b", "Bearer", ""])
def test_an_authorization_that_is_no_bearer_is_skipped(
    gateway: Pair, token: str, upstream: str, value: str
) -> None:
    """A non-Bearer Authorization is skipped and removed; the token is read from X-Api-Key."""
    headers = {"authorization": value.format(token=token), "x-api-key": token}
    exchanged = one(gateway, "GET", MODELS[upstream], headers)
    assert exchanged.answer.status_code == 200, exchanged.answer.text
    central = {"anthropic": CENTRAL_ANTHROPIC, "openai": CENTRAL_OPENAI}
    assert exchanged.credentials == central[upstream]


def test_a_blank_governance_header_is_none(gateway_without_byok: Pair) -> None:
    """An empty header does not make a request BYOK, and it does not reach the provider."""
    token = gateway_without_byok.create_token("bob")
    exchanged = one(
        gateway_without_byok,
        "GET",
        MODELS["anthropic"],
        {GOVERNANCE: "", "authorization": f"Bearer {token}", "x-api-key": OWN_KEYS["anthropic"]},
    )
    assert exchanged.answer.status_code == 200, exchanged.answer.text
    assert exchanged.credentials == CENTRAL_ANTHROPIC


def test_an_own_api_key_wins_over_an_own_bearer(gateway: Pair, token: str) -> None:
    """An own API key overrides an own Bearer, which is dropped."""
    exchanged = one(
        gateway,
        "GET",
        MODELS["anthropic"],
        {
            GOVERNANCE: token,
            "authorization": f"Bearer {SUBSCRIPTION}",
            "x-api-key": OWN_KEYS["anthropic"],
        },
    )
    assert exchanged.answer.status_code == 200
    assert exchanged.credentials == [("x-api-key", OWN_KEYS["anthropic"])]


def test_a_subscription_passes_as_a_bearer(gateway: Pair, token: str) -> None:
    """An OAuth token of the user's own arrives in Authorization, with no X-Api-Key beside it."""
    exchanged = one(
        gateway,
        "GET",
        MODELS["anthropic"],
        {GOVERNANCE: token, "authorization": f"Bearer {SUBSCRIPTION}"},
    )
    assert exchanged.answer.headers["x-demo-credential-kind"] == "byok"
    assert exchanged.credentials == [("authorization", f"Bearer {SUBSCRIPTION}")]


def test_a_log_in_in_both_headers_of_an_api_key_helper(gateway: Pair, token: str) -> None:
    """A log-in's token arrives only as a Bearer, since Anthropic refuses it in X-Api-Key."""
    for headers in (
        {"authorization": f"Bearer {SUBSCRIPTION}", "x-api-key": SUBSCRIPTION},
        {"x-api-key": SUBSCRIPTION},
    ):
        exchanged = one(gateway, "GET", MODELS["anthropic"], {GOVERNANCE: token, **headers})
        assert exchanged.answer.headers["x-demo-credential-kind"] == "byok"
        assert exchanged.credentials == [("authorization", f"Bearer {SUBSCRIPTION}")]


def test_both_headers_of_an_api_key_helper(gateway: Pair, token: str) -> None:
    """A Coder token in both headers, as Claude Code's apiKeyHelper sends it, means centralized."""
    headers = {"authorization": f"Bearer {token}", "x-api-key": token}
    exchanged = one(gateway, "GET", MODELS["anthropic"], headers)
    assert exchanged.answer.headers["x-demo-credential-kind"] == "centralized"
    assert exchanged.credentials == CENTRAL_ANTHROPIC


@pytest.mark.parametrize("upstream", ["anthropic", "openai", "copilot"])
@pytest.mark.parametrize(
    "name",
    [
        "User-Agent",
        "X-Foo",
        "Cookie",
        "Coder-Session-Token",
        "api-key",
        "x-goog-api-key",
        "x-auth-token",
        "x-amz-security-token",
        "Proxy-Authorization",
        "X-Coder-Token",
        "X-Stainless-Lang",
        "Referer",
        "X-Forwarded-For",
    ],
)
@pytest.mark.parametrize("text", ["{token}", "session={token}; a=b"])
def test_a_coder_token_in_another_header_stays_here(
    gateway: Pair, token: str, upstream: str, name: str, text: str
) -> None:
    """A copy of the token is removed from any header that a client puts it in, in both modes."""
    headers = {GOVERNANCE: token, name: text.format(token=token)}
    if upstream == "copilot":
        headers["authorization"] = f"Bearer {OWN_KEYS['copilot']}"
    exchanged = one(gateway, "GET", MODELS[upstream], headers)
    assert exchanged.answer.status_code == 200, exchanged.answer.text
    assert not leaks(exchanged.seen[0], [token])
    assert len(exchanged.credentials) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/openai/v1/models?access_token={token}",
        "/openai/v1/models?access_token={escaped}",
        "/openai/v1/models/{token}",
        "/openai/v1/models/{escaped}",
    ],
)
def test_a_coder_token_in_the_url_is_refused(gateway: Pair, token: str, path: str) -> None:
    """A Coder token in the URL is refused, since it would reach the provider and its logs."""
    path = path.format(token=token, escaped=token.replace("-", "%2D"))
    exchanged = one(gateway, "GET", path, {"authorization": f"Bearer {token}"})
    error = check_refusal(exchanged, 400, "invalid_request_error", "openai")
    assert error["code"] == "token_in_url"
    assert token not in exchanged.answer.text
    assert token not in gateway.stderr


def test_a_token_in_the_query_alone_is_no_token(gateway: Pair, token: str) -> None:
    """A token in the query or in cookies is not read, unlike in Coder's own API."""
    for name in ("coder_session_token", "key", "api_key", "anything"):
        path = f"/anthropic/v1/models?{name}={token}"
        exchanged = one(gateway, "GET", path)
        error = check_refusal(exchanged, 400, "invalid_request_error", "anthropic")
        assert error["message"].startswith("The Coder token is part of the URL")
        assert token not in exchanged.answer.text + gateway.stderr
    for path, headers in (
        (MODELS["anthropic"], {"cookie": f"coder_session_token={token}"}),
        (MODELS["anthropic"], {"coder-session-token": token}),
        (MODELS["anthropic"], {"api-key": token}),
    ):
        exchanged = one(gateway, "GET", path, headers)
        check_refusal(exchanged, 401, "authentication_error", "anthropic")


@pytest.mark.parametrize("upstream", ["chatgpt", "copilot"])
def test_a_provider_without_a_central_key_asks_for_the_users_own(
    gateway: Pair, token: str, upstream: str
) -> None:
    """The 401 names the provider, and the header for the credential."""
    exchanged = one(gateway, "GET", MODELS[upstream], {"authorization": f"Bearer {token}"})
    error = check_refusal(exchanged, 401, "authentication_error", shape_of(upstream))
    assert upstream in error["message"]
    assert "Authorization: Bearer" in error["message"]
    assert error["code"] == "credential_required"


def test_byok_off_names_the_setting(gateway_without_byok: Pair) -> None:
    """The 403 names the setting that is off, so that an administrator can find it."""
    token = gateway_without_byok.create_token("alice")
    exchanged = one(
        gateway_without_byok,
        "GET",
        MODELS["anthropic"],
        {GOVERNANCE: token, "x-api-key": OWN_KEYS["anthropic"]},
    )
    error = check_refusal(exchanged, 403, "permission_error", "anthropic")
    assert "allow_byok" in error["message"]
    assert OWN_KEYS["anthropic"] not in exchanged.answer.text
