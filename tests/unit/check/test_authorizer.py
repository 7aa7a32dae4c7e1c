"""authz.check.authorizer: from Envoy's check to authz's response."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from authz.check.authorizer import Authorizer
from authz.check.entry_ids import ID
from authz.check.tarpit import BURST
from authz.config.key_reference import KeyReference
from authz.config.settings import Config, Provider
from authz.core.header_names import CREDENTIAL_HEADERS
from authz.core.identity import Rejection
from authz.core.refusals import Reason
from authz.delayed import DelayedResponse
from authz.errors import ConfigError, IdentityUnavailable
from authz.identity.bad_tokens import TooManyBadTokens
from authz.keys.pool import KeyPool
from authz.pb import ext_authz_pb2 as pb
from authz.secret import Secret
from tests.support.checks import ANTHROPIC, OPENAI, allows, answer, question
from tests.support.identities import InMemoryIdentities

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
EXPIRED = "Ebcdefghi1-Ebcdefghijklmnopqrstu2"
CENTRAL = "sk-ant-central-0123456789abcdef"
OWN = "sk-ant-own-0123456789abcdef"
COPILOT = {
    "provider": "copilot",
    "base_url": "https://api.individual.githubcopilot.com/",
    "supported": "true",
}


class Key:
    """A central key with the given text, or one that raises the given exception."""

    def __init__(self, text: str | Exception | None) -> None:
        self._text = text

    def current(self) -> Secret | None:
        if isinstance(self._text, Exception):
            raise self._text
        return Secret(self._text) if self._text else None


def _identities() -> InMemoryIdentities:
    return InMemoryIdentities({TOKEN: "alice", EXPIRED: Rejection.EXPIRED})


def _pool(key: str | Exception | None) -> KeyPool:
    return KeyPool("a", [Key(key)], has_cooldown=False)


def _authorizer(
    source: InMemoryIdentities | None = None,
    key: str | Exception | None = CENTRAL,
    *,
    allow_byok: bool = True,
) -> Authorizer:
    keys = {"anthropic": _pool(key)}
    return Authorizer(Config(allow_byok=allow_byok), source or _identities(), keys)


def _ask(message: bytes, authorizer: Authorizer | None = None) -> bytes:
    return asyncio.run((authorizer or _authorizer()).check(message))


def _metadata(response: pb.CheckResponse) -> dict[str, str]:
    fields = response.dynamic_metadata.fields
    metadata = {key: value.string_value for key, value in fields.items()}
    # The id differs in each request.
    assert ID.fullmatch(metadata.pop("entry", "0" * 12 + "-" + "0" * 12))
    return metadata


def test_a_good_token_gets_the_central_key() -> None:
    """The allow sets the key; its metadata has the user and the credential for the access log."""
    message = _ask(question([("x-api-key", TOKEN)]))
    assert allows(message)
    response = answer(message)
    (option,) = response.ok_response.headers
    assert (option.header.key, option.header.value) == ("x-api-key", CENTRAL)
    assert set(response.ok_response.headers_to_remove) == {*CREDENTIAL_HEADERS} - {"x-api-key"}
    assert _metadata(response) == {
        "decision": "allow",
        "path": "/anthropic/v1/messages",
        "user": "alice",
        "user_id": "uuid-of-alice",
        "token_id": TOKEN[:10],
        "token_name": "token-of-alice",
        "mode": "centralized",
        "provider": "anthropic",
        "credential_hint": "sk-a...cdef",
        "facts": '["allow",null,"alice","uuid-of-alice","Abcdefghi1","token-of-alice",'
        '"anthropic","centralized",null]',
    }


def test_an_own_key_is_kept() -> None:
    """With BYOK the answer sets no header, and copies of the token elsewhere are removed."""
    headers = [
        ("x-coder-ai-governance-token", TOKEN),
        ("x-api-key", OWN),
        ("user-agent", f"tool {TOKEN}"),
    ]
    response = answer(_ask(question(headers)))
    assert list(response.ok_response.headers) == []
    assert "user-agent" in response.ok_response.headers_to_remove
    assert "x-api-key" not in response.ok_response.headers_to_remove
    assert _metadata(response)["mode"] == "byok"


def test_every_check_asks_the_source() -> None:
    """Each check asks the identity source again."""
    source = _identities()
    authorizer = _authorizer(source)
    for _ in range(3):
        assert allows(_ask(question([("x-api-key", TOKEN)]), authorizer))
    assert source.asked == [TOKEN[:10]] * 3


def test_a_refusal_without_a_look_up() -> None:
    """A check without a well-formed token does not ask the source."""
    source = _identities()
    for headers in ([], [("x-api-key", "sk-ant-own")], [("x-api-key", TOKEN), ("x-api-key", "a")]):
        assert not allows(_ask(question(headers), _authorizer(source)))
    assert source.asked == []


def test_a_refusal_in_the_providers_shape() -> None:
    """Status, body and request id are the provider's; the metadata has the true reason."""
    headers = [("authorization", f"Bearer {EXPIRED}"), ("x-request-id", "id-1")]
    response = answer(_ask(question(headers)))
    assert response.denied_response.status.code == 401
    body = json.loads(response.denied_response.body)
    assert (body["type"], body["request_id"]) == ("error", "id-1")
    metadata = {
        "decision": "deny",
        "path": "/anthropic/v1/messages",
        "reason": "token_expired",
        "provider": "anthropic",
        "token_id": EXPIRED[:10],
        "facts": f'["deny","token_expired",null,null,"{EXPIRED[:10]}",null,"anthropic",null,null]',
    }
    assert _metadata(response) == metadata
    openai = answer(_ask(question(headers, OPENAI)))
    assert json.loads(openai.denied_response.body)["error"]["code"] == "token_invalid"


def test_byok_off() -> None:
    """With BYOK off an own key gets a 403, and a governance token alone is served."""
    authorizer = _authorizer(allow_byok=False)
    governed = [("x-coder-ai-governance-token", TOKEN)]
    denied = answer(_ask(question([*governed, ("x-api-key", OWN)]), authorizer))
    assert denied.denied_response.status.code == 403
    assert allows(_ask(question(governed), authorizer))


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"supported": "true"},
        {"provider": ""},
        {"base_url": ANTHROPIC["base_url"], "supported": "true"},
        {**ANTHROPIC, "supported": "false"},
        {**ANTHROPIC, "supported": "True"},
        {key: value for key, value in ANTHROPIC.items() if key != "supported"},
    ],
)
def test_a_route_without_our_facts_is_never_an_allow(context: dict[str, str]) -> None:
    """A route without its facts gets a 404 for a good token, and a 401 without one."""
    served = answer(_ask(question([("x-api-key", TOKEN)], context)))
    assert served.denied_response.status.code == 404
    refused = answer(_ask(question([], context)))
    assert refused.denied_response.status.code == 401


@pytest.mark.parametrize(
    "context",
    [
        {**ANTHROPIC, "provider": "nope"},
        {**ANTHROPIC, "base_url": "https://evil.example/"},
        {**ANTHROPIC, "base_url": OPENAI["base_url"]},
        {key: value for key, value in ANTHROPIC.items() if key != "base_url"},
    ],
)
def test_a_route_to_somewhere_else_is_unavailable(context: dict[str, str]) -> None:
    """No key is sent if Envoy names another upstream than authz's own configuration."""
    response = answer(_ask(question([("x-api-key", TOKEN)], context)))
    assert response.error_response.status.code == 503
    assert CENTRAL not in str(response)
    assert _metadata(response) == {"decision": "unavailable", "reason": "unknown_route"}


def test_an_unavailable_source_is_503() -> None:
    """An unavailable source is a 503 with Retry-After, not a rejected token."""
    source = _identities()
    source.failure = IdentityUnavailable("database is locked")
    response = answer(_ask(question([("x-api-key", TOKEN)]), _authorizer(source)))
    assert response.error_response.status.code == 503
    assert {"retry-after"} <= {o.header.key for o in response.error_response.headers}
    assert "locked" not in response.error_response.body
    assert _metadata(response)["reason"] == "identity_unavailable"


@pytest.mark.parametrize(
    "error",
    [RuntimeError(TOKEN), KeyError(CENTRAL), RecursionError(), OSError(5, OWN), TypeError()],
)
def test_a_bug_is_503_and_shows_nothing(error: Exception) -> None:
    """An unexpected exception is an answer of 503, without its text, also in the log."""
    source = _identities()
    source.failure = error
    broken = [_authorizer(source), _authorizer(key=error)]
    for authorizer in broken:
        with capture_logs() as logs:
            response = answer(_ask(question([("x-api-key", TOKEN)]), authorizer))
        assert response.error_response.status.code == 503
        assert _metadata(response)["reason"] == "internal_error"
        for secret in (TOKEN[11:], CENTRAL, OWN):
            assert secret not in str(response)
            assert secret not in str(logs)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_never_an_allow(message: bytes) -> None:
    """No message without a good token is allowed, whatever its bytes, and none raises."""
    assert not allows(_ask(message))


_values = st.binary(max_size=50) | st.sampled_from(
    [EXPIRED.encode(), f"Bearer {EXPIRED}".encode(), OWN.encode(), f"Bearer {OWN}".encode(), b""]
)
_names = st.sampled_from([*CREDENTIAL_HEADERS, "x-request-id", "cookie", "host", ""])
_contexts = st.sampled_from([ANTHROPIC, OPENAI, COPILOT, {}, {**ANTHROPIC, "base_url": "x"}])


@given(st.lists(st.tuples(_names, _values), max_size=6), _contexts, st.booleans())
def test_arbitrary_headers_are_never_an_allow(
    headers: list[tuple[str, bytes]], context: dict[str, str], allow_byok: bool
) -> None:
    """No headers without a good token are allowed, whatever other credentials they have."""
    assert not allows(_ask(question(headers, context), _authorizer(allow_byok=allow_byok)))


@given(
    st.lists(st.tuples(_names, _values), max_size=4),
    _contexts,
    st.sampled_from(
        [IdentityUnavailable(""), RuntimeError(), ValueError(), OSError(), MemoryError()]
    ),
)
def test_a_failing_source_is_never_an_allow(
    headers: list[tuple[str, bytes]], context: dict[str, str], failure: Exception
) -> None:
    """A good token is not allowed while the source fails."""
    source = _identities()
    source.failure = failure
    message = question([("x-coder-ai-governance-token", TOKEN), *headers], context)
    assert not allows(_ask(message, _authorizer(source)))


def test_a_refusal_is_logged_at_info() -> None:
    """A refusal is logged with its reason and request id, also for a client's HEAD probe."""
    for method, headers, reason in (
        ("HEAD", [], Reason.TOKEN_MISSING),
        ("GET", [], Reason.TOKEN_MISSING),
        ("HEAD", [("x-api-key", EXPIRED)], Rejection.EXPIRED),
    ):
        with capture_logs() as logs:
            _ask(question(headers, method=method, path="/anthropic"))
        (line,) = logs
        assert (line["log_level"], line["event"]) == ("info", "request refused")
        assert (line["request"], line["reason"]) == (f"{method} /anthropic", str(reason))
        assert "request_id" in line


def test_no_secret_in_metadata_log_or_answer() -> None:
    """No outcome puts a token or key into the log, the metadata or the answer."""
    requests = [
        question([("x-api-key", EXPIRED)]),
        question([("x-api-key", TOKEN)], {**ANTHROPIC, "supported": "false"}),
        question([("x-coder-ai-governance-token", TOKEN)], COPILOT),
        question([("x-api-key", TOKEN)], path=f"/anthropic/v1/models/{TOKEN}"),
        question([("x-api-key", TOKEN), ("x-api-key", OWN)]),
        question([("authorization", f"Bearer {OWN}")]),
        question([("x-coder-ai-governance-token", TOKEN), ("x-api-key", OWN)]),
    ]
    for message in requests:
        with capture_logs() as logs:
            response = answer(_ask(message))
        kept = f"{logs} {_metadata(response)} {response.denied_response}"
        for secret in (TOKEN[11:], EXPIRED[11:], OWN):
            assert secret not in kept


def test_the_keys_are_opened_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without given keys the authorizer opens the configured ones, or raises an error."""
    monkeypatch.setenv("SOME_KEY", "sk with spaces")
    reference = KeyReference(env="SOME_KEY")
    provider = Provider.model_validate(
        {"name": "a", "type": "openai", "base_url": "https://a.example", "key": reference}
    )
    with pytest.raises(ConfigError, match=r"providers\[0\]\.key") as caught:
        Authorizer(Config(providers=(provider,)), _identities())
    assert "sk with spaces" not in str(caught.value)


TYPES = Config.model_validate(
    {
        "providers": [
            {"name": "gemini", "type": "gemini", "base_url": "https://g.example"},
            {
                "name": "aws",
                "type": "bedrock",
                "base_url": "https://a.example",
                "aws": {"region": "us-east-1"},
            },
            {"name": "unsigned", "type": "bedrock", "base_url": "https://a.example"},
            {"name": "copilot", "type": "copilot", "base_url": "https://c.example"},
        ]
    }
)


def _asked(name: str, path: str = "/", **extensions: str) -> pb.CheckResponse:
    """Ask with a good token; the Gemini provider alone has a central key."""
    (url,) = (str(one.base_url) for one in TYPES.providers if one.name == name)
    context = {"provider": name, "base_url": url, "supported": "true", **extensions}
    authorizer = Authorizer(TYPES, _identities(), {"gemini": _pool(CENTRAL)})
    return answer(_ask(question([("x-api-key", TOKEN)], context, path=path), authorizer))


def test_what_a_route_says_of_keys() -> None:
    """Only the exact value `true` uses a key or lets a request pass without one."""
    assert _asked("gemini").status.code == 0
    for value in ("false", "", "True", "1"):
        assert _asked("gemini", central_key=value).denied_response.status.code == 401
        assert _asked("copilot", keyless=value).denied_response.status.code == 401
    keyless = _asked("copilot", keyless="true")
    assert keyless.status.code == 0
    assert {*keyless.ok_response.headers_to_remove} == {*CREDENTIAL_HEADERS}
    assert _metadata(keyless)["credential_hint"] == ""


def test_what_envoy_signs() -> None:
    """A provider is signed only if our configuration says it is, and gets no credential."""
    signed = _asked("aws")
    assert list(signed.ok_response.headers) == []
    assert {*signed.ok_response.headers_to_remove} == {*CREDENTIAL_HEADERS}
    assert _metadata(signed)["mode"] == "centralized"
    assert _metadata(signed)["credential_hint"] == "aws"
    assert _asked("unsigned").denied_response.status.code == 401
    assert _asked("aws", central_key="false").denied_response.status.code == 401


def test_keys_in_the_query() -> None:
    """A plain key in the query is removed; a hidden one is refused."""
    removed = _asked("gemini", "/gemini/v1/models?key=K&alt=sse").ok_response
    assert list(removed.query_parameters_to_remove) == ["key"]
    denied = _asked("gemini", "/gemini/v1/models?k%65y=K")
    assert denied.denied_response.status.code == 400
    assert _metadata(denied)["reason"] == "key_in_url"


@pytest.mark.parametrize("error", [None, TooManyBadTokens("many")])
def test_a_flood_delays_refusals_alone(error: Exception | None) -> None:
    """A flood delays refusals, also if Coder's call limit is reached, but never an allow."""

    async def run() -> None:
        source = _identities()
        authorizer = _authorizer(source)
        allowed, refused = question([("x-api-key", TOKEN)]), question([("x-api-key", EXPIRED)])
        first = [await authorizer.check(refused) for _ in range(BURST)]
        assert not any(isinstance(response, DelayedResponse) for response in first)
        source.failure = error
        # A few may have become free meanwhile.
        further = [await authorizer.check(refused) for _ in range(BURST)]
        delayed = [response for response in further if isinstance(response, DelayedResponse)]
        assert delayed
        assert not any(allows(response) for response in (*first, *further))
        source.failure = None
        response = await authorizer.check(allowed)
        assert allows(response)
        assert type(response) is bytes

    asyncio.run(run())


@pytest.mark.parametrize(("workers", "most"), [(1, 3), (2, 1)])
def test_delayed_refusals_leave_room_for_others(workers: int, most: int) -> None:
    """The delayed refusals of all processes are at most half of the checks that Envoy allows."""
    settings = {"authz": {"workers": workers}, "envoy": {"max_checks": 6}}
    config = Config.model_validate(settings)
    authorizer = Authorizer(config, _identities(), {"anthropic": _pool(CENTRAL)})

    async def run() -> list[bytes]:
        return [await authorizer.check(question([])) for _ in range(2 * BURST)]

    responses = asyncio.run(run())
    assert sum(isinstance(response, DelayedResponse) for response in responses) == most
