"""Paths that look like another one, and targets that are not paths."""

import pytest

from tests.attack.target import BODY, MESSAGES, Target
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS

# What a path is after normalization decides, in routing, at authz and at the provider alike.
SAME_AS_MESSAGES = (
    "//anthropic/v1/messages",
    "/anthropic//v1///messages",
    "/anthropic/v1/../v1/messages",
    "/anthropic/./v1/messages",
    "/anthropic/v1/%2e%2e/v1/messages",
    "/anthropic/v1/.%2E/v1/messages",
    "/anthropic/v1/..;/v1/messages",
    "/anthropic\\v1\\messages",
    "/openai/../anthropic/v1/messages",
    "/healthz/../anthropic/v1/messages",
    "/../../anthropic/v1/messages",
    "/anthropic/v1/m%65ssages",
    "/%61nthropic/v1/messages",
    "/api/v2/ai-gateway/anthropic/v1/messages",
    "/api/v2/aibridge/anthropic/v1/messages",
    "/api/v2/aibridge//openai/../anthropic/v1/messages",
    "http://evil.test/anthropic/v1/messages",
    "http://api.anthropic.com:443/anthropic/v1/messages",
    "http://user:password@evil.test/anthropic/v1/messages",
    "HTTP://evil.test/anthropic/v1/messages",
)
NOT_SERVED = (
    "/",
    "/anthropic",
    "/anthropic/",
    "/anthropic/v1",
    "/anthropic/v1/messages/",
    "/anthropic/v1/messages;x",
    "/anthropic/v1/messages;/v1/messages",
    "/anthropic/v1/messages/count_tokens/x",
    "/anthropic/v1/messages/../../v1/organizations",
    "/anthropic/v1/messages/batches",
    "/anthropic/v1/organizations/users",
    "/anthropic/v1/models/../organizations",
    "/anthropic/v1/models/%2e%2e/organizations",
    "/anthropic/v1/models/%2E./organizations",
    "/anthropic/v1/models/..;/organizations",
    "/anthropic/v1/models/..\\organizations",
    "/anthropic/v1/models/x/..//../organizations",
    "/anthropic/api/event_logging/../../v1/organizations",
    "/anthropic/api/event_logging/..;/..;/v1/organizations",
    "/anthropic/api/event_loggingx",
    "/anthropic/v1/Messages",
    "/anthropic/V1/messages",
    "/ANTHROPIC/v1/messages",
    "/Anthropic/v1/messages",
    "/anthropic/v1/messages%20",
    "/anthropic/v1/messages%3Fx=y",
    "/anthropic/v1/messages%0d%0ax-api-key:x",
    "/anthropic/v1/messages/%c0%ae%c0%ae/x",
    "/anthropicx/v1/messages",
    "/xanthropic/v1/messages",
    "/anthropic-/v1/messages",
    "/anthropic.evil.test/v1/messages",
    "/anthropic@evil.test/v1/messages",
    "/api/anthropic/v1/messages",
    "/api/v2/aibridge/",
    "/api/v2/aibridge/aibridge/anthropic/v1/messages",
    "/api/v3/aibridge/anthropic/v1/messages",
    "/openai/v1/../admin/api_keys",
    "/openai/v1/responses/../files",
    "/openai/v1/conversations/../../v1/organization/admin_api_keys",
    "/openai/v1/files",
    "/openai/v1/batches",
    "/openai/v2/responses",
    "/openai/responses",
    "/openai/v1/v1/responses/../../files",
    "/healthz",
    "/healthz/",
    "/healthz/x",
    "/HEALTHZ",
    "/readyz",
    "/readyz;x",
    "/http://api.anthropic.com/v1/messages",
    "/anthropic/http:/api.anthropic.com/v1/messages",
    "http://evil.test/v1/complete",
    "http://evil.test",
    # An escaped slash is one to some servers and a letter to others.
    "/anthropic%2Fv1/messages",
    "/anthropic%2fv1/messages",
    "/anthropic/v1%5Cmessages",
    "/anthropic/v1%2Fmessages",
    "/anthropic/v1/messages%2Fcount_tokens",
    "/anthropic/v1/messages%2F..%2Fmessages",
    "/anthropic/api/event_logging/..%2f..%2fv1/organizations",
    "/anthropic/v1%2Fmodels/x",
    "/%2Fanthropic/v1/messages",
    "/api%2Fv2/ai-gateway/anthropic/v1/messages",
    "/api/v2/ai-gateway/anthropic%2Fv1%2Fmessages",
    "/api/v2/users/me%2Fkeys",
    "/api/v2/users/me%2Fkeys%2Ftokens",
    "/api/v2/users/me/keys%5Ctokens",
    "/api/v2/users/..%2F..%2Fx",
    "/ui%2Fsign-in",
    "/healthz%2F",
    "/healthz%2F..%2Fanthropic/v1/messages",
    "/openai/v1/responses%2Fx",
    "/openai/v1/responses/x%2Fcancel",
    "/openai/v1/conversations/..%2f..%2ffiles",
    "/openai/v1/chat%2Fcompletions",
    "/nope/v1/models/a%2Fb",
)
BELOW_MODELS = (
    "..%2F..%2Ffiles",
    "..%2f..%2fv1/organizations",
    "x%2F..%2F..%2Ffiles",
    "%2e%2e%2Ffiles",
    "%2E%2E%2f%2E%2E%2ffiles",
    ".%2e%2ffiles",
    "..;%2Ffiles",
    "%2e%2e%5corganizations",
    "..%5C..%5Cfiles",
    "x%5Cy",
    "%5C%5Cevil.test%5Cx",
    "x%252Ffiles",
    "%252e%252e%252ffiles",
    "..%25%32%66files",
    "%%32%66files",
    "%%35%63files",
    "..%c0%affiles",
    "%c0%ae%c0%ae%2Ffiles",
    "%c1%9cfiles",
    ".%09.%2Ffiles",
    ".%0d.%2Ffiles",
    "a%2F../../../files",
    "a%2F%2e%2e/files",
)
"""Paths that climb out of a list of models if they are decoded once more."""
MALFORMED = (
    b"/anthropic/v1/messages%00",
    b"/anthropic/v1/messages%00.json",
    b"/anthropic/v1/messages#x",
    b"/#/anthropic/v1/messages",
    b"/anthropic/v1/messages\xe9",
    b"/anthropic/v1/messages\xc3\xa9",
    b"/anthropic/v1/messages\x00",
    b"/anthropic/v1/messages\x7f",
    b"/anthropic/v1/ messages",
    b"/anthropic/v1/\tmessages",
    b"anthropic/v1/messages",
    b"",
    b"?",
    b"*",
    b"*/anthropic/v1/messages",
    b"ftp://evil.test/anthropic/v1/messages",
    b"file:///anthropic/v1/messages",
    b"http:///anthropic/v1/messages",
    b"http://evil test/anthropic/v1/messages",
)


@pytest.mark.parametrize("path", SAME_AS_MESSAGES)
def test_path_that_is_the_same(target: Target, path: str) -> None:
    """A path that normalizes to a served one is served, and the provider sees the normal form."""
    outcome = target.post(target.valid(), path)
    assert outcome.status == 200
    (visit,) = outcome.seen
    assert (visit.provider, visit.path) == ("anthropic", "/v1/messages")
    assert visit.credential == CENTRAL_KEYS["anthropic"]
    assert "evil.test" not in str(visit.headers)


@pytest.mark.parametrize("path", SAME_AS_MESSAGES)
def test_path_that_is_the_same_needs_a_token(target: Target, path: str) -> None:
    """Every spelling of a served path needs a token."""
    outcome = target.post([], path)
    assert (outcome.status, outcome.error_type) == (401, "authentication_error")
    assert outcome.seen == []


@pytest.mark.parametrize("path", NOT_SERVED)
def test_path_that_is_not_served(target: Target, path: str) -> None:
    """A path outside the allow-list is 404 with a good token and 401 without one."""
    outcome = target.post(target.valid(), path)
    assert (outcome.status, outcome.error_type) == (404, "not_found_error")
    assert outcome.answer is not None
    assert "route not supported: POST /" in outcome.answer.error["message"]
    assert outcome.seen == []
    outcome = target.post([], path)
    assert (outcome.status, outcome.error_type) == (401, "authentication_error")
    assert outcome.seen == []


@pytest.mark.parametrize("name", ["mistralai%2Fmistral-7b", "a%2fb%2Fc", "org%2Fm-1.5:free"])
@pytest.mark.parametrize("at", ["openai", "anthropic", "chatgpt"])
def test_a_slash_in_the_name_of_a_model(target: Target, at: str, name: str) -> None:
    """A model name with an escaped slash reaches the provider unchanged, and needs a token."""
    headers = target.valid()
    if at == "chatgpt":
        own = f"Bearer {OWN_KEYS[at]}"
        headers = [("x-coder-ai-governance-token", target.token), ("authorization", own)]
    path = f"/{at}/v1/models/{name}"
    (visit,) = target.get(path, headers).seen
    assert visit.path.endswith(f"/models/{name}")
    refused = target.get(path, [])
    assert (refused.status, refused.error_type) == (401, "authentication_error")
    assert refused.seen == []


@pytest.mark.parametrize("rest", BELOW_MODELS)
@pytest.mark.parametrize("at", ["openai", "anthropic", "nope"])
def test_a_way_out_of_the_list_of_models(target: Target, at: str, rest: str) -> None:
    """A model name that could climb out when it is decoded once more is refused."""
    for prefix in ("", "/api/v2/ai-gateway"):
        for headers, statuses in ((target.valid(), (400, 404)), ([], (400, 401))):
            outcome = target.get(f"{prefix}/{at}/v1/models/{rest}", headers)
            assert outcome.status in statuses
            assert outcome.seen == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_slash_in_the_name_of_a_model_is_for_reading(target: Target, method: str) -> None:
    """A model name with an escaped slash is served with GET only."""
    outcome = target.send(raw.request(method, "/openai/v1/models/a%2Fb", target.valid()))
    assert (outcome.status, outcome.error_type) == (404, "not_found_error")
    assert outcome.seen == []


def test_an_escaped_slash_is_explained(target: Target) -> None:
    """The error for an escaped slash says what is wrong, and where one would be allowed."""
    outcome = target.get("/openai/v1/files/a%2Fb")
    assert outcome.answer is not None
    assert "%2F" in outcome.answer.error["message"]
    assert "below /models" in outcome.answer.error["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/anthropic/v1/messages",
        "/api/v2/aibridge/sessions",
        "/api/v2/ai-gateway/models",
        "/api/v2/AIBridge/anthropic/v1/messages",
        "/api/v2/aibridge/../anthropic/v1/messages",
        "/api/v2/x/%2e%2e/metrics",
        "/api/v2/%252e%252e/%252e%252e/metrics",
        "/api/v2//metrics",
    ],
)
def test_path_of_no_route_of_the_api(target: Target, path: str) -> None:
    """An unknown path below the API's is the API's own 404, and reaches no provider or metrics."""
    for headers in (target.valid(), []):
        target.gateway.provider.take()
        answer = raw.ask(target.gateway.port, raw.request("POST", path, headers))
        assert (answer.status, answer.body) == (404, b'{"message":"Route not found."}')
        assert target.reached() == []


@pytest.mark.parametrize("path", MALFORMED)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_malformed_target(target: Target, path: bytes, method: str) -> None:
    """A target that servers read in different ways is 400, with and without a token."""
    for headers in (target.valid(), []):
        outcome = target.send(raw.request(method, path, headers))
        assert (outcome.status, outcome.error_type) == (400, "invalid_request_error")
        assert outcome.seen == []


@pytest.mark.parametrize(
    "path",
    [
        "/anthropic/v1/models/%252e%252e/organizations",
        "/anthropic/v1/models/%25%32%65%25%32%65/organizations",
        "/anthropic/v1/models/..%3b/organizations",
        "/anthropic/v1/models/..%09/organizations",
        "/anthropic/v1/models/..%00/organizations",
        "/anthropic/v1/models/x%252f..%252f..%252forganizations",
        "/openai/v1/responses/%252e%252e/%252e%252e/organization/admin_api_keys",
    ],
)
def test_climbing_path_in_disguise(target: Target, path: str) -> None:
    """A path that climbs out of the allow-list when it is decoded once more gets no central key."""
    outcome = target.get(path)
    assert outcome.status in (400, 404)
    assert outcome.seen == []


@pytest.mark.parametrize(
    "path", ["/copilot/../anthropic/v1/messages", "/chatgpt/../openai/v1/models"]
)
def test_climbing_from_a_provider_without_central_key(target: Target, path: str) -> None:
    """The decision is for the provider that a path leads to, not for the one it begins with."""
    method = "POST" if path.endswith("messages") else "GET"
    outcome = target.send(
        raw.request(method, path, target.valid(), BODY if method == "POST" else b"")
    )
    assert outcome.status == 200
    (visit,) = outcome.seen
    assert visit.credential == CENTRAL_KEYS[visit.provider]


def test_own_key_of_another_provider(target: Target) -> None:
    """A path to another provider does not use an own credential from a header of the first one."""
    headers = [
        ("x-coder-ai-governance-token", target.token),
        ("x-api-key", OWN_KEYS["anthropic"]),
    ]
    outcome = target.post(headers, "/anthropic/../openai/v1/chat/completions")
    assert outcome.status == 200
    (visit,) = outcome.seen
    assert visit.credential == CENTRAL_KEYS["openai"]
    assert visit.all("x-api-key") == []


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/healthz?x=y", "//healthz", "/x/../readyz"]
)
def test_health_needs_no_token(target: Target, path: str) -> None:
    """The health paths answer an empty 200 without a token, and nothing goes to a provider."""
    outcome = target.get(path, [])
    assert outcome.status == 200
    assert outcome.answer is not None
    assert outcome.answer.body == b""
    assert outcome.seen == []


@pytest.mark.parametrize("query", ["?../../organizations", "?a=%2e%2e%2f", "?a=%00", "?a=//", "??"])
def test_query_is_passed_as_it_came(target: Target, query: str) -> None:
    """A query changes no route and passes unchanged."""
    outcome = target.post(target.valid(), MESSAGES + query)
    assert outcome.status == 200
    (visit,) = outcome.seen
    assert (visit.path, f"?{visit.query}") == ("/v1/messages", query)


@pytest.mark.parametrize(
    "method", ["TRACE", "OPTIONS", "PUT", "PATCH", "DELETE", "PROPFIND", "PURGE"]
)
def test_method_that_is_not_served(target: Target, method: str) -> None:
    """A method that a path is not served with is 404 with a good token and 401 without one."""
    for path in (MESSAGES, "/openai/v1/models/gpt-5", "/anthropic/v1/models/claude-opus-4-5"):
        outcome = target.send(raw.request(method, path, target.valid()))
        assert (outcome.status, outcome.error_type) == (404, "not_found_error")
        assert outcome.seen == []
        outcome = target.send(raw.request(method, path))
        assert (outcome.status, outcome.error_type) == (401, "authentication_error")


@pytest.mark.parametrize(
    "method", ["FOO", "post", "Post", "GET\x00", "GE T", "GET/", "P\xc3ST", ""]
)
def test_malformed_method(target: Target, method: str) -> None:
    """A method that HTTP does not know is 400."""
    outcome = target.send(raw.request(method, MESSAGES, target.valid(), BODY))
    assert (outcome.status, outcome.error_type) == (400, "invalid_request_error")
    assert outcome.seen == []


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "LINK"])
def test_method_on_a_provider_without_allow_list(target: Target, method: str) -> None:
    """A method that no API uses is refused even if every path is served."""
    headers = [
        ("x-coder-ai-governance-token", target.token),
        ("authorization", f"Bearer {OWN_KEYS['copilot']}"),
    ]
    outcome = target.send(raw.request(method, "/copilot/agents/x", headers))
    assert (outcome.status, outcome.error_type) == (404, "not_found_error")
    assert outcome.seen == []


@pytest.mark.parametrize(
    "override", ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url"]
)
def test_method_override(target: Target, override: str) -> None:
    """A header that asks for another method or path has no effect."""
    value = "/healthz" if override == "x-original-url" else "GET"
    outcome = target.send(
        raw.request("DELETE", "/anthropic/v1/models/x", [*target.valid(), (override, value)])
    )
    assert outcome.status == 404
    assert outcome.seen == []


@pytest.mark.parametrize("target_", ["http://evil.test?/anthropic/v1/messages", "?/anthropic/v1/x"])
def test_target_without_path(target: Target, target_: str) -> None:
    """A target with a query but no path is refused before any decision."""
    outcome = target.get(target_)
    assert (outcome.status, outcome.error_type) in (
        (400, "invalid_request_error"),
        (404, "not_found_error"),
    )
    assert outcome.seen == []


@pytest.mark.parametrize("authority", ["api.anthropic.com:443", "127.0.0.1:22", "gateway.test"])
@pytest.mark.parametrize("authenticated", [True, False])
def test_connect(target: Target, authority: str, authenticated: bool) -> None:
    """The base-URL listener is not a proxy: CONNECT is refused and opens nothing."""
    headers = target.valid() if authenticated else []
    outcome = target.send(raw.request("CONNECT", authority, headers))
    assert outcome.status in (400, 401, 404)
    assert outcome.seen == []


def test_head_without_token(target: Target) -> None:
    """Claude Code's first request, HEAD without a credential, gets a plain 401 without a body."""
    for path in ("/anthropic", "/anthropic/", "/api/v2/ai-gateway/anthropic"):
        outcome = target.send(raw.request("HEAD", path), head=True)
        assert outcome.status == 401
        assert outcome.seen == []
