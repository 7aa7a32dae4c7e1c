"""authz.external.reader: from an external gateway's check to authz's response."""

import asyncio
import contextlib
import json
import random
import re
from collections.abc import Mapping
from typing import Any

import pytest
from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.service.auth.v3 import (
    AttributeContext,
    AttributeContextHttpRequest,
    AttributeContextRequest,
    CheckRequest,
)
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from authz.check import ext_authz
from authz.check.authorizer import MAX_IN_PROGRESS, Authorizer
from authz.check.ext_authz import BadCheck, metadata_of
from authz.check.readers import UnboundCheck
from authz.core.header_names import (
    CREDENTIAL_HEADERS,
    REMOVED_HEADERS,
    REMOVED_PREFIXES,
    SESSION_HEADERS,
)
from authz.errors import IdentityUnavailable
from authz.external.causes import Cause
from authz.keys.pool import KeyPool
from authz.pb import ext_authz_pb2 as pb
from authz.pb import external_check_pb2
from authz.secret import Secret
from tests.support.checks import ANTHROPIC as OWN_FACTS
from tests.support.checks import allows, answer, question
from tests.support.external_checks import (
    COPILOT,
    MARK,
    OPENAI,
    SECRET,
    external_config,
    external_question,
    external_reader,
    resources,
)
from tests.support.identities import InMemoryIdentities
from tests.unit.envoy.rendered import rendered
from tests.unit.external.test_paths import CLIMBING

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
OTHER = "Zbcdefghi1-Zbcdefghijklmnopqrstu2"
CENTRAL = "sk-ant-central-0123456789abcdef"
OWN = "sk-ant-own-0123456789abcdef"
CONTEXT = {"provider": "anthropic", "path": "/anthropic", "secret": SECRET}


class _Key:
    def current(self) -> Secret:
        return Secret(CENTRAL)


def _authorizer(source: InMemoryIdentities | None = None, **settings: Any) -> Authorizer:
    config = external_config(**settings)
    keys = {name: KeyPool(name, [_Key()], has_cooldown=False) for name in ("anthropic", "openai")}
    source = source or InMemoryIdentities({TOKEN: "alice"})
    return Authorizer(config, source, keys, reader=external_reader(config))


AUTHORIZER = _authorizer()


def ask(message: bytes, authorizer: Authorizer = AUTHORIZER) -> bytes:
    """Return authz's response to a check."""
    return asyncio.run(authorizer.check(message))


def status_of(message: bytes, authorizer: Authorizer = AUTHORIZER) -> int:
    """Return the HTTP status that the client gets; 200 for an allow."""
    response = answer(ask(message, authorizer))
    if response.status.code == 0:
        assert response.WhichOneof("http_response") == "ok_response"
        return 200
    # Envoy before 1.37 knows no error_response.
    assert response.WhichOneof("http_response") == "denied_response"
    return response.denied_response.status.code


def set_headers(response: pb.CheckResponse) -> dict[str, str]:
    """Return the headers that an allow sets."""
    return {one.header.key: one.header.value for one in response.ok_response.headers}


def test_the_central_key() -> None:
    """A request with a Coder token gets the central key, as in our own Envoy."""
    response = answer(ask(external_question([("x-api-key", TOKEN)])))
    assert response.status.code == 0
    assert set_headers(response) == {"x-api-key": CENTRAL}
    removed = set(response.ok_response.headers_to_remove)
    assert removed >= set(CREDENTIAL_HEADERS) - {"x-api-key"}
    assert removed >= {"x-forwarded-for", "x-forwarded-proto", "x-envoy-external-address"}
    assert removed.isdisjoint({"x-api-key", "x-request-id", "user-agent", ":path", ":authority"})


def test_the_own_key() -> None:
    """The user's own key stays, and the Coder token goes."""
    headers = [("x-api-key", OWN), ("x-coder-ai-governance-token", TOKEN)]
    response = answer(ask(external_question(headers)))
    assert response.status.code == 0
    assert set_headers(response) == {}
    removed = response.ok_response.headers_to_remove
    assert "x-api-key" not in removed
    assert "x-coder-ai-governance-token" in removed


def test_the_metadata_for_the_log() -> None:
    """The gateway's access log can name user, mode and provider."""
    metadata = metadata_of(ask(external_question([("x-api-key", TOKEN)])))
    assert metadata["user"] == "alice"
    assert metadata["mode"] == "centralized"
    assert metadata["provider"] == "anthropic"
    assert metadata["path"] == "/anthropic/v1/messages"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 200),
        ({"context": CONTEXT, "httproute": None}, 200),
        ({"host": "llm.example.com", "httproute": None, "path": "/openai/v1/responses"}, 200),
        ({"raw": True}, 200),
        ({"headers": [(":scheme", "file")]}, 200),
        ({"headers": [(":scheme", "file")], "raw": True}, 200),
        ({"host": ""}, 200),
        ({"raw": True, "context": CONTEXT, "httproute": None}, 200),
        # Known route, and a path or a method that the provider does not list.
        ({"path": "/anthropic/v1/files"}, 404),
        ({"path": "/anthropic"}, 404),
        ({"path": "/anthropic/"}, 404),
        ({"path": "/Anthropic/v1/messages"}, 404),
        ({"path": "/anthropic//v1/messages"}, 404),
        ({"path": "/anthropic/v1/messages/../messages"}, 404),
        ({"path": "/anthropic/v1/messages#x"}, 404),
        ({"path": "/anthropic/v1/messages?x=1#/v1/files"}, 404),
        ({"path": "/other/v1/messages"}, 404),
        ({"path": "http://gw.example/anthropic/v1/messages"}, 404),
        ({"path": "*", "method": "OPTIONS"}, 404),
        ({"path": ""}, 404),
        ({"method": "GET"}, 404),
        ({"method": "post"}, 404),
        ({"method": ""}, 404),
        ({"method": "DELETE", "path": "/anthropic/v1/organizations/users/1"}, 404),
        ({"raw": True, "method": "DELETE", "path": "/anthropic/v1/organizations/users/1"}, 404),
        # Nothing binds the route.
        ({"httproute": None}, 503),
        ({"httproute": "other/anthropic"}, 503),
        ({"httproute": None, "context": OWN_FACTS}, 503),
        ({"httproute": None, "context": OWN_FACTS, "raw": True}, 503),
        ({"httproute": None, "context": OWN_FACTS | {"routes": "guess"}, "raw": True}, 503),
        ({"httproute": None, "context": OWN_FACTS | {"routes": MARK}}, 503),
        ({"httproute": None, "context": {"kind": "own"}, "raw": True}, 503),
        ({"httproute": None, "context": {"kind": "connect"}, "raw": True}, 503),
        ({"httproute": None, "context": CONTEXT | {"secret": "x"}}, 503),
        ({"context": {"provider": "openai"}}, 503),
        # An allow-list of headers.
        *(
            ({"without": [name], "raw": raw}, 503)
            for name in (":path", ":method", ":authority", ":scheme")
            for raw in (False, True)
        ),
        ({"headers": [("x-envoy-auth-failure-mode-allowed", "true")]}, 503),
        ({"headers": [("X-Coder-Owner", "x")]}, 503),
    ],
)
def test_statuses(change: dict[str, Any], status: int) -> None:
    """Only a bound route, a listed path and a complete check lead to an allow."""
    headers = [("x-api-key", TOKEN), *change.pop("headers", [])]
    assert status_of(external_question(headers, **change)) == status


@pytest.mark.parametrize("rest", CLIMBING)
def test_climbing_paths(rest: str) -> None:
    """A path with two readings is not served, although the provider lists all paths below it."""
    headers = [("authorization", f"Bearer {TOKEN}")]
    listed = external_question(
        headers, method="DELETE", path="/llm/openai/v1/responses/x", httproute=OPENAI
    )
    assert status_of(listed) == 200
    for raw in (False, True):
        asked = external_question(
            headers, method="DELETE", path=f"/llm/openai{rest}", httproute=OPENAI, raw=raw
        )
        assert status_of(asked) == 404


def test_without_a_token() -> None:
    """A path that is not listed tells strangers nothing: it is a 401 like every other."""
    for path in ("/anthropic/v1/messages", "/anthropic/v1/files", "/other"):
        response = answer(ask(external_question(path=path)))
        assert response.denied_response.status.code == 401
        headers = {one.header.key: one.header.value for one in response.denied_response.headers}
        assert headers["www-authenticate"] == "Bearer"
        assert headers["x-should-retry"] == "false"


@pytest.mark.parametrize("name", CREDENTIAL_HEADERS)
@pytest.mark.parametrize("value", [f"{TOKEN},{TOKEN}", ",x", "x,", ",", "x!y", f"{TOKEN}!"])
def test_joined_and_odd_headers(name: str, value: str) -> None:
    """A credential that Envoy has joined or altered is refused, in every credential header."""
    headers = {"x-coder-ai-governance-token": TOKEN, "x-api-key": OWN, name: value}
    assert status_of(external_question(headers.items())) == 400


def test_odd_headers_elsewhere() -> None:
    """A comma or an exclamation mark in another header means nothing."""
    headers = [("x-api-key", TOKEN), ("accept", "a,b"), ("x-latin", "caf!"), ("cookie", "a=b,c=d")]
    assert status_of(external_question(headers)) == 200
    # Raw headers are as the client sent them, so a key may have an exclamation mark.
    headers = [("x-api-key", "sk-ant-!"), ("x-coder-ai-governance-token", TOKEN)]
    assert status_of(external_question(headers, raw=True)) == 200


def test_refusals_in_the_providers_format() -> None:
    """Each provider's SDK can read a refusal; a 503 has Retry-After."""
    denied = answer(ask(external_question())).denied_response
    assert json.loads(denied.body)["type"] == "error"
    openai = external_question(path="/llm/openai/v1/models", method="GET", httproute=OPENAI)
    assert "param" in json.loads(answer(ask(openai)).denied_response.body)["error"]
    source = InMemoryIdentities({TOKEN: "alice"})
    source.failure = IdentityUnavailable("down")
    response = answer(ask(external_question([("x-api-key", TOKEN)]), _authorizer(source)))
    assert response.status.code == 14
    assert response.denied_response.status.code == 503
    assert json.loads(response.denied_response.body)["error"]["type"] == "api_error"
    headers = {one.header.key: one.header.value for one in response.denied_response.headers}
    assert headers["retry-after"] == "2"


def test_unreadable_checks() -> None:
    """A message that is not a check gets a 503 that every Envoy can read."""
    for message in (b"\xff", b"garbage", b""):
        assert status_of(message) == 503


def test_overload() -> None:
    """An overloaded authz answers in the form that the asking Envoy reads."""
    authorizer = _authorizer()
    authorizer._in_progress = MAX_IN_PROGRESS
    assert status_of(external_question(), authorizer) == 503
    marked = question(context=OWN_FACTS | {"routes": MARK})
    assert answer(ask(marked, authorizer)).WhichOneof("http_response") == "error_response"


@pytest.mark.parametrize(
    ("route", "method", "upgrade", "status"),
    [
        ("/llm/openai/v1/realtime", "GET", "websocket", 200),
        ("/llm/openai/v1/realtime", "GET", "WebSocket", 200),
        ("/llm/openai/v1/realtime", "GET", "websocket,websocket", 426),
        ("/llm/openai/v1/realtime", "GET", "foo", 426),
        ("/llm/openai/v1/realtime", "POST", "websocket", 426),
        ("/llm/openai/v1/chat/completions", "GET", "websocket", 426),
        ("/llm/openai/v1/models", "GET", "websocket", 426),
        ("/llm/openai/v1/files", "GET", "websocket", 404),
        ("/llm/openai/v1/realtime", "GET", None, 404),
    ],
)
def test_websockets(route: str, method: str, upgrade: str | None, status: int) -> None:
    """A WebSocket passes where the provider's type has one, and is a 426 on its other paths."""
    headers = [("authorization", f"Bearer {TOKEN}")]
    headers += [("upgrade", upgrade)] if upgrade else []
    asked = external_question(headers, method=method, path=route, httproute=OPENAI)
    assert status_of(asked) == status
    if upgrade:
        stranger = external_question(headers[1:], method=method, path=route, httproute=OPENAI)
        assert status_of(stranger) == 401


def test_a_websocket_does_not_share_a_decision() -> None:
    """A cached allow without an upgrade says nothing about the same request with one."""
    headers = [("authorization", f"Bearer {TOKEN}")]
    change = {"method": "GET", "path": "/llm/openai/v1/models", "httproute": OPENAI}
    for _ in range(2):
        assert status_of(external_question(headers, **change)) == 200  # type: ignore[arg-type]
        upgraded = [*headers, ("upgrade", "websocket")]
        assert status_of(external_question(upgraded, **change)) == 426  # type: ignore[arg-type]


def test_removed_headers_are_those_of_our_own_envoy() -> None:
    """Every header that Envoy's filters remove is removed by authz's answer, except one."""
    names = [
        *(name for name in REMOVED_HEADERS if name != "x-request-id"),
        *(f"{prefix}x" for prefix in REMOVED_PREFIXES),
        *("x_api_key", "openai_organization"),
    ]
    matcher = r'"key_matcher": \{"safe_regex": \{"regex": "([^"]*)"'
    patterns = re.findall(matcher, json.dumps(rendered()))
    assert len(patterns) >= 3
    for name in names:
        headers = [("x-api-key", TOKEN), (name, "x")]
        removed = answer(ask(external_question(headers))).ok_response.headers_to_remove
        assert list(removed).count(name) == 1
        if "_" not in name:
            # The pattern of trailers matches everything.
            assert sum(bool(re.fullmatch(pattern, name)) for pattern in patterns) >= 2


@pytest.mark.parametrize("is_on", [True, False])
def test_session_ids_are_removed_where_they_are_recorded(is_on: bool) -> None:
    """With ``usage.tags`` the provider does not get the session ids, as behind our own Envoy."""
    usage = {"tags": is_on}
    headers = [("x-api-key", TOKEN), *((name, "some-session") for name in SESSION_HEADERS)]
    response = answer(ask(external_question(headers), _authorizer(usage=usage)))
    assert (set(SESSION_HEADERS) <= set(response.ok_response.headers_to_remove)) is is_on
    assert ("session" in response.dynamic_metadata.fields) is is_on
    whole = json.dumps(rendered(usage=usage))
    assert all((f"|{name}" in whole) is is_on for name in SESSION_HEADERS)


def test_what_stays() -> None:
    """Headers of the client's request to the model stay."""
    names = ["anthropic-version", "anthropic-beta", "user-agent", "accept", "x-stainless-lang"]
    headers = [("x-api-key", TOKEN), *((name, "x") for name in names)]
    removed = answer(ask(external_question(headers))).ok_response.headers_to_remove
    assert set(names).isdisjoint(removed)


def test_stray_tokens() -> None:
    """A Coder token in any other header is removed, and one in the URL is refused."""
    headers = [("x-api-key", TOKEN), ("x-stray", f"a{OTHER}"), ("x-mine", f"z {TOKEN} z")]
    removed = answer(ask(external_question(headers))).ok_response.headers_to_remove
    assert "x-mine" in removed
    assert status_of(external_question(headers, path=f"/anthropic/v1/messages?x={TOKEN}")) == 400


def test_trace_headers() -> None:
    """A client's trace goes no further where authz traces."""
    headers = [("x-api-key", TOKEN), ("traceparent", "x"), ("baggage", "y")]
    removed = answer(ask(external_question(headers))).ok_response.headers_to_remove
    assert "traceparent" not in removed
    tracing = _authorizer(tracing={"otlp": "http://127.0.0.1:4317"})
    removed = answer(ask(external_question(headers), tracing)).ok_response.headers_to_remove
    assert {"traceparent", "baggage"} <= set(removed)


def test_actor_headers_and_compression() -> None:
    """If so configured, authz sets the user's headers and removes Accept-Encoding."""
    headers = [
        ("x-api-key", TOKEN),
        ("x-ai-bridge-actor-id", "forged"),
        ("accept-encoding", "gzip"),
    ]
    off = _authorizer(usage={"enabled": False})
    response = answer(ask(external_question(headers), off))
    assert "accept-encoding" not in response.ok_response.headers_to_remove
    assert "x-ai-bridge-actor-id" in response.ok_response.headers_to_remove
    on = _authorizer(send_actor_headers=True)
    response = answer(ask(external_question(headers), on))
    assert set_headers(response) == {
        "x-api-key": CENTRAL,
        "x-ai-bridge-actor-id": "uuid-of-alice",
        "x-ai-bridge-actor-metadata-username": "alice",
    }
    assert "accept-encoding" in response.ok_response.headers_to_remove
    assert "x-ai-bridge-actor-id" not in response.ok_response.headers_to_remove
    models = external_question(headers, method="GET", path="/anthropic/v1/models")
    assert set_headers(answer(ask(models, on))) == {"x-api-key": CENTRAL}


def test_a_provider_without_a_central_key() -> None:
    """A provider that takes own keys only works, too."""
    change = {"path": "/copilot/chat/completions", "httproute": COPILOT}
    assert status_of(external_question([("authorization", f"Bearer {TOKEN}")], **change)) == 401  # type: ignore[arg-type]
    headers = [("authorization", "Bearer gho_1"), ("x-coder-ai-governance-token", TOKEN)]
    assert status_of(external_question(headers, **change)) == 200  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"without": [":path"]}, Cause.NO_PATH),
        ({"httproute": None}, Cause.NO_BINDING),
        ({"httproute": None, "raw": True}, Cause.NO_MARK),
        ({"httproute": "evil/x"}, Cause.UNKNOWN_HTTPROUTE),
        ({"httproute": None, "context": CONTEXT | {"secret": "wrong"}}, Cause.UNPROVEN),
        ({"headers": [("x-envoy-auth-failure-mode-allowed", "true")]}, Cause.FAIL_OPEN),
    ],
)
def test_the_log_names_the_setting(change: dict[str, Any], cause: Cause) -> None:
    """An unsafe configuration is logged once, with the setting to change and no secret."""
    headers = [("x-api-key", TOKEN), *change.pop("headers", [])]
    authorizer = _authorizer()
    with capture_logs() as lines:
        for _ in range(3):
            assert status_of(external_question(headers, **change), authorizer) == 503
    assert [line["why"] for line in lines] == [cause.value]
    for secret in (TOKEN, SECRET, "wrong", MARK):
        assert secret not in repr(lines)


def test_our_own_envoy() -> None:
    """A check with our own routes' mark is answered with the same bytes as without gateways."""
    config = external_config()
    source = InMemoryIdentities({TOKEN: "alice"})
    keys = {"anthropic": KeyPool("anthropic", [_Key()], has_cooldown=False)}
    plain, both = Authorizer(config, source, keys), _authorizer()
    for context in (OWN_FACTS, OWN_FACTS | {"supported": "false"}, {"kind": "own"}, {}):
        for headers in ([("x-api-key", TOKEN)], [("x-api-key", "x,y!")], []):
            asked = question(headers, context)
            marked = question(headers, {**context, "routes": MARK})
            today, now = ask(asked, plain), ask(marked, both)
            assert without_entry(today) == without_entry(now)
            assert not external_reader().read(marked).external


def test_why_our_own_envoy_has_a_mark() -> None:
    """The facts of our own routes, copied into another gateway, would lose the listed paths."""
    asked: dict[str, Any] = {
        "headers": [("x-api-key", TOKEN)],
        "method": "DELETE",
        "path": "/anthropic/v1/organizations/users/1",
        "httproute": None,
        "context": OWN_FACTS,
        "raw": True,
    }
    keys = {"anthropic": KeyPool("anthropic", [_Key()], has_cooldown=False)}
    believing = Authorizer(external_config(), InMemoryIdentities({TOKEN: "alice"}), keys)
    assert allows(ask(external_question(**asked), believing))
    assert status_of(external_question(**asked)) == 503
    assert status_of(external_question(**{**asked, "context": CONTEXT})) == 404


def without_entry(response: bytes) -> bytes:
    """Return a response without the number that differs in each one."""
    return re.sub(rb"[0-9a-f]{12}-[0-9]{12}", b"", response)


def test_off() -> None:
    """Without the setting, a check with joined headers has no credential that authz reads."""
    off = Authorizer(external_config(), InMemoryIdentities({TOKEN: "alice"}), {})
    for context in (CONTEXT, OWN_FACTS, {}):
        message = external_question([("x-api-key", TOKEN)], httproute=None, context=context)
        assert not allows(ask(message, off))


_NAMES = st.sampled_from(
    [
        *("x-api-key", "authorization", "x-coder-ai-governance-token", "x-goog-api-key"),
        *("x-stray", "accept", "cookie", "x-envoy-foo", "upgrade", "openai-organization"),
    ]
)
_VALUES = st.sampled_from([TOKEN, OTHER, f"Bearer {TOKEN}", OWN, "websocket", "a,b", "x!", "", "v"])
_HEADERS = st.dictionaries(_NAMES, _VALUES, max_size=5)
_PATHS = st.sampled_from(
    [
        *("/anthropic/v1/messages", "/anthropic/v1/models", "/anthropic/v1/files"),
        *("/llm/openai/v1/models", "/openai/v1/models?key=x", "/v1/messages"),
        *("/anthropic/v1/models/..%2ffiles", f"/anthropic/v1/models?t={TOKEN}"),
    ]
)
_CONTEXTS: st.SearchStrategy[Mapping[str, str]] = st.sampled_from(
    [
        {},
        CONTEXT,
        OWN_FACTS,
        OWN_FACTS | {"routes": MARK},
        {"provider": "anthropic"},
        {"kind": "own"},
    ]
)
_ROUTES = st.sampled_from([None, "ai/anthropic", OPENAI, "evil/anthropic"])
_QUESTIONS = st.fixed_dictionaries(
    {
        "headers": _HEADERS.map(lambda headers: list(headers.items())),
        "method": st.sampled_from(["GET", "POST", "DELETE", "get"]),
        "path": _PATHS,
        "host": st.sampled_from(["gw.example", "llm.example.com", "anthropic.example.com:80"]),
        "context": _CONTEXTS,
        "httproute": _ROUTES,
        "without": st.sampled_from([[], [], [], [":path"], [":authority"]]),
    }
)


@given(_QUESTIONS, st.randoms(use_true_random=False))
def test_the_order_of_the_maps_does_not_matter(
    asked: dict[str, Any], shuffled: random.Random
) -> None:
    """Two checks that differ in the order of their maps have the same answer, cached or not."""
    first = ask(external_question(**asked))
    again = ask(external_question(**asked, shuffled=shuffled))
    alone = ask(external_question(**asked, shuffled=shuffled), _authorizer())
    assert without_entry(first) == without_entry(again) == without_entry(alone)


_LISTED = {
    ("POST", "/anthropic/v1/messages"): {"ai/anthropic"},
    ("GET", "/anthropic/v1/models"): {"ai/anthropic"},
    ("GET", "/llm/openai/v1/models"): {OPENAI},
    ("GET", "/openai/v1/models"): {"llm.example.com"},
    ("POST", "/v1/messages"): {"anthropic.example.com:80"},
}


@given(_QUESTIONS)
def test_an_allow_needs_everything(asked: dict[str, Any]) -> None:
    """An allow requires every header, a binding, and a path and method that the type lists."""
    if not allows(ask(external_question(**asked))):
        return
    assert asked["without"] == []
    bound = _LISTED[asked["method"], asked["path"].partition("?")[0]]
    if asked["httproute"] is not None:
        assert asked["httproute"] in bound
    elif asked["context"]:
        assert asked["context"] == CONTEXT
        assert "ai/anthropic" in bound
    else:
        assert asked["host"] in bound


@given(st.binary(max_size=200))
def test_any_bytes(message: bytes) -> None:
    """No random bytes are allowed, and they raise only the two known errors."""
    assert not allows(ask(message))
    reader = external_reader()
    reader.is_external(message)
    with contextlib.suppress(BadCheck, UnboundCheck):
        reader.read(message)


def test_caches_are_bounded() -> None:
    """A client that invents headers fills no memory."""
    reader = external_reader()
    for number in range(5000):
        reader.read(external_question([(f"x-{number}", "y"), ("x" * 200 + str(number), "z")]))
    assert len(reader._names) <= 4096
    assert max(map(len, reader._names)) <= 129


def test_what_a_stranger_makes_long_is_not_cached() -> None:
    """Long paths and many names of headers leave nothing behind, and change no answer."""
    authorizer = _authorizer()
    reader = external_reader()
    many = [(f"x-envoy-{number:050}", "y") for number in range(60)]
    for path in ("/anthropic/v1/messages", "/anthropic/" + "a" * 3000):
        message = external_question([("x-api-key", TOKEN), *many], path=path)
        reader.read(message)
        assert reader._facts.cache_info().currsize == 0
    for _ in range(2):
        message = external_question([("x-api-key", TOKEN), *many])
        response = answer(ask(message, authorizer))
        assert response.status.code == 0
        assert {name for name, _ in many} <= set(response.ok_response.headers_to_remove)
    assert authorizer._cache._decisions == {}


def test_a_provider_without_any_key() -> None:
    """A provider that takes no credential gets none."""
    local = {
        "name": "openai",
        "type": "openai-compat",
        "base_url": "http://127.0.0.1:1/v1",
        "key": "none",
    }
    providers = external_config().model_dump(mode="json", exclude_none=True)["providers"]
    others = [one for one in providers if one["name"] != "openai"]
    headers = [("authorization", f"Bearer {TOKEN}")]
    asked = external_question(headers, path="/llm/openai/v1/responses", httproute=OPENAI)
    response = answer(ask(asked, _authorizer(providers=[*others, local])))
    assert response.status.code == 0
    assert set_headers(response) == {}
    assert "authorization" in response.ok_response.headers_to_remove


def test_further_credential_headers() -> None:
    """A credential header of gateway.yaml follows the same rules as the others."""
    providers = external_config().model_dump(mode="json", exclude_none=True)["providers"]
    for one in providers:
        one["credential_headers"] = ["x-team-key"] if one["name"] == "anthropic" else []
    authorizer = _authorizer(providers=providers)
    for value, status in (("k", 200), ("k,k", 400), ("k!", 400)):
        headers = [("x-coder-ai-governance-token", TOKEN), ("x-team-key", value)]
        assert status_of(external_question(headers), authorizer) == status


def test_the_message_is_envoys() -> None:
    """The numbers of the fields are those of Envoy's own message."""
    asked = CheckRequest(
        attributes=AttributeContext(
            request=AttributeContextRequest(
                http=AttributeContextHttpRequest(
                    method="POST",
                    path="/openai/v1/responses",
                    host="llm.example.com",
                    headers={
                        ":method": "POST",
                        ":path": "/openai/v1/responses",
                        ":authority": "llm.example.com",
                        ":scheme": "https",
                        "authorization": f"Bearer {TOKEN}",
                    },
                )
            )
        )
    )
    assert status_of(bytes(asked)) == 200
    metadata = Metadata.parse(resources("other/x"))
    assert asked.attributes is not None
    asked.attributes.route_metadata_context = metadata
    assert "envoy-gateway" in metadata.filter_metadata
    assert status_of(bytes(asked)) == 503
    asked.attributes.route_metadata_context = None
    asked.attributes.context_extensions = {"x": "y"}
    assert status_of(bytes(asked)) == 503


def test_two_kinds_of_headers() -> None:
    """A check with raw and with joined headers is refused."""
    check = external_check_pb2.CheckRequest.FromString(external_question(raw=True))
    more = external_check_pb2.CheckRequest.FromString(external_question())
    check.attributes.request.http.headers.extend(more.attributes.request.http.headers)
    with pytest.raises(BadCheck):
        external_reader().read(check.SerializeToString())


def test_a_field_of_either_kind_is_read() -> None:
    """A header of a map and a raw header are read alike."""
    entry = external_check_pb2.HeaderEntry(key="a", value="b").SerializeToString()
    raw = pb.HeaderValue(key="a", raw_value=b"b").SerializeToString()
    assert ext_authz.read_field(entry) == ext_authz.read_field(raw) == ("a", b"b")
