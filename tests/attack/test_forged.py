"""Headers that only the gateway itself may set, and facts that a client invents."""

import json
import time

import pytest

from tests.attack.target import BODY, GOVERNANCE, MESSAGES, Target
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, wait_until

FORGED = (
    ("x-envoy-original-path", "/healthz"),
    ("x-envoy-original-host", "evil.test"),
    ("x-envoy-upstream-rq-timeout-ms", "1"),
    ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
    ("x-envoy-expected-rq-timeout-ms", "1"),
    ("x-envoy-max-retries", "9"),
    ("x-envoy-retry-on", "5xx"),
    ("x-envoy-internal", "true"),
    ("x-envoy-external-address", "10.0.0.1"),
    ("x-envoy-decorator-operation", "evil"),
    ("x-envoy-upstream-alt-stat-name", "evil"),
    ("x-envoy-ip-tags", "evil"),
    ("x-envoy-force-trace", "true"),
    ("x-envoy-auth-partial-body", "true"),
    ("x-envoy-hedge-on-per-try-timeout", "true"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-for", "10.0.0.1, 127.0.0.1"),
    ("x-forwarded-host", "evil.test"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-proto", "ftp"),
    ("x-forwarded-port", "443"),
    ("x-forwarded-client-cert", "By=evil"),
    ("x-forwarded-user", "admin"),
    ("forwarded", "for=127.0.0.1;proto=https"),
    ("via", "1.1 evil"),
    ("x-request-id", "evil"),
    ("cookie", "coder_session_token=evil"),
    ("x-coder-ai-governance-request-id", "evil"),
    ("x-coder-token", "evil"),
    ("coder-session-token", "evil"),
    ("coder-anything", "evil"),
    ("x-ai-bridge-actor-id", "evil"),
    ("x-ai-bridge-actor-metadata-username", "evil"),
    ("proxy-authorization", "Basic ZXZpbA=="),
    ("proxy-connection", "keep-alive"),
)
METADATA = (
    ("envoy.filters.http.ext-authz", '{"user":"admin"}'),
    ("envoy.lb", "admin"),
    ("x-ext-authz-provider", "openai"),
    ("x-provider", "openai"),
    ("x-base-url", "http://evil.test"),
    ("x-supported", "true"),
    ("provider", "copilot"),
    ("x-user", "admin"),
    ("x-authz-user", "admin"),
    ("x-auth-request-user", "admin"),
    ("x-gw-user", "admin"),
    ("x-remote-user", "admin"),
    ("remote-user", "admin"),
)


@pytest.mark.parametrize(("name", "value"), FORGED)
def test_forged_header_ends_here(target: Target, name: str, value: str) -> None:
    """A header of the gateway or of Coder has no effect and does not reach the provider."""
    for spelling in (name, name.upper()):
        outcome = target.post([*target.valid(), (spelling, value)])
        assert outcome.status == 200
        (visit,) = outcome.seen
        assert visit.all(name) == []
        assert visit.credential == CENTRAL_KEYS["anthropic"]


@pytest.mark.parametrize(("name", "value"), FORGED)
def test_forged_header_is_no_token(target: Target, name: str, value: str) -> None:
    """A request passes only with a Coder token in one of the three headers that may carry one."""
    for text in (value, target.token):
        outcome = target.post([(name, text)])
        assert outcome.status in (400, 401)
        assert outcome.seen == []


@pytest.mark.parametrize(("name", "value"), METADATA)
def test_forged_facts(target: Target, name: str, value: str) -> None:
    """Claims of a client about its user, provider or route are not believed."""
    outcome = target.post([(name, value)])
    assert (outcome.status, outcome.error_type) == (401, "authentication_error")
    outcome = target.post([*target.valid(), (name, value)], "/anthropic/v1/organizations")
    assert (outcome.status, outcome.error_type) == (404, "not_found_error")
    outcome = target.post([*target.valid(), (name, value)])
    assert [visit.credential for visit in outcome.seen] == [CENTRAL_KEYS["anthropic"]]


def test_only_known_headers_reach_the_provider(target: Target) -> None:
    """The provider sees only the client's own headers, one credential and its own Host."""
    outcome = target.post([*target.valid(), ("anthropic-version", "2023-06-01"), ("x-mine", "1")])
    (visit,) = outcome.seen
    names = sorted(name for name, _ in visit.headers)
    assert names == ["anthropic-version", "content-length", "host", "x-api-key", "x-mine"]


def test_request_id_is_our_own(target: Target) -> None:
    """A client's request id is replaced, so that it can't be made to look like another's."""
    forged = "00000000-0000-4000-8000-000000000000"
    outcome = target.post([("x-request-id", forged)])
    assert outcome.answer is not None
    assert outcome.answer.status == 401
    request_id = outcome.answer.header("request-id")
    assert request_id
    assert request_id != forged
    assert json.loads(outcome.answer.body)["request_id"] == request_id
    assert forged.encode() not in outcome.answer.whole


@pytest.mark.parametrize("kind", ["anthropic", "openai"])
def test_request_id_of_a_refusal_is_in_the_log(target: Target, kind: str) -> None:
    """The id in a refusal is the one in the access log and in authz's own log."""
    header = "request-id" if kind == "anthropic" else "x-request-id"
    outcome = target.post([], f"/{kind}/v1/messages")
    assert outcome.answer is not None
    request_id = outcome.answer.header(header)
    assert request_id
    wait_until(lambda: request_id in target.gateway.stdout, 3, "the access log line")
    assert request_id in target.gateway.stderr


def test_answer_tells_nothing_of_a_bad_token(target: Target) -> None:
    """Unknown ids and wrong secrets get one text, and values that are not tokens get another."""
    identifier, _, secret = target.token.partition("-")
    assert _words(target, [f"{identifier}-{secret[::-1]}", f"{'0' * 10}-{'0' * 22}"]) != _words(
        target, [f"{identifier}-{'!' * 22}", f"{'0' * 10}-{'!' * 22}"]
    )
    _words(target, [f"{identifier}-{secret[::-1]}", f"{identifier[::-1]}-{secret}"])
    no_tokens = [
        f"{identifier}-{'!' * 22}",
        "' OR 1=1 --",
        "sk-ant-api03-" + "a" * 80,
        identifier,
        "x",
    ]
    _words(target, no_tokens)


def _words(target: Target, bad: list[str]) -> str:
    """Return the one body that all bad tokens get."""
    bodies = set()
    for token in bad:
        outcome = target.post([("x-api-key", token)])
        assert outcome.status == 401
        assert outcome.answer is not None
        body = json.loads(outcome.answer.body)
        body.pop("request_id")
        bodies.add(json.dumps(body))
        assert token.encode() not in outcome.answer.whole or len(token) < 10
    (body_of_all,) = bodies
    return body_of_all


def test_refused_value_is_not_repeated(target: Target) -> None:
    """A response never repeats the value of a credential header."""
    secret = "canary-5b1f0e2d"
    own = OWN_KEYS["anthropic"] + secret
    for headers in (
        [("x-api-key", secret)],
        [("authorization", f"Bearer {secret}")],
        [(GOVERNANCE, secret), ("x-api-key", own)],
        [("x-api-key", f"{secret}\x80".encode("latin-1"))],
        [("x-api-key", secret), ("x-api-key", secret)],
        [("authorization", f"Bearer {secret},Bearer {secret}")],
    ):
        outcome = target.post(headers)
        assert outcome.answer is not None
        assert outcome.status in (400, 401)
        assert secret.encode() not in outcome.answer.whole


def test_url_with_token_is_not_logged(target: Target) -> None:
    """A Coder token in the URL appears in no log line, neither in the path nor in the query."""
    for path in (
        "/anthropic/v1/models?key=",
        "/anthropic/v1/models/",
        "/unknown/",
        "/anthropic/v1/models/x#",
    ):
        for headers in (target.valid(), []):
            target.get(path + target.token, headers)
            target.get(path + target.other, headers)
            for hyphen in ("%2D", "%252D", "%25252d"):
                target.get(path + target.token.replace("-", hyphen), headers)
        target.get(path + target.token.replace("-", "%2525252525252525252d"), [])
    mark = f"log-{time.monotonic_ns()}"
    target.get(f"/anthropic/v1/models/{mark}", [])
    wait_until(lambda: mark in target.gateway.stdout, 3, "the access log line")
    for secret in target.token_secrets:
        lines = [
            line
            for line in (target.gateway.stdout + target.gateway.stderr).splitlines()
            if secret in line
        ]
        assert lines == []


def test_upgrade_url_with_token_is_not_logged(target: Target) -> None:
    """A Coder token in the path is not logged either if Envoy refuses before it asks authz."""
    token = target.gateway.create_token("alice")
    headers = [("connection", "upgrade"), ("upgrade", "websocket")]
    target.get(f"/copilot/{token}", headers)
    target.send(raw.request("CONNECT", f"{token}.test:443"))
    mark = f"log-{time.monotonic_ns()}"
    target.get(f"/anthropic/v1/models/{mark}", [])
    wait_until(lambda: mark in target.gateway.stdout, 3, "the access log line")
    assert token.partition("-")[2] not in target.gateway.stdout + target.gateway.stderr


def test_log_line_can_not_be_forged(target: Target) -> None:
    """A path with quotes or escaped line breaks makes no second line and no further field."""
    mark = f"log-{time.monotonic_ns()}"
    target.post([], f'/anthropic/{mark}","user":"admin"}}%0a{{"user":"admin')
    target.post([], f"{MESSAGES}/{mark}%0d%0a")
    wait_until(lambda: target.gateway.stdout.count(mark) >= 2, 3, "the access log lines")
    for line in target.gateway.stdout.splitlines():
        if mark in line:
            assert json.loads(line)["user"] is None
    for line in target.gateway.stderr.splitlines():
        if mark in line:
            assert json.loads(line)["user"] is None
    assert target.send(raw.request("POST", MESSAGES, target.valid(), BODY)).status == 200
