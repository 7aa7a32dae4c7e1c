"""authz.check.decision_cache: a cached decision never changes the response to a request."""

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.check import ext_authz
from authz.check.authorizer import Authorizer
from authz.check.decision_cache import DecisionCache
from authz.check.ext_authz import Check, read_field
from authz.config.settings import Config, Provider
from authz.core.credentials import BadHeader, Credentials, read
from authz.core.header_names import ACCOUNT_HEADERS, CREDENTIAL_HEADERS
from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken
from authz.keys.pool import KeyPool
from authz.pb import ext_authz_pb2 as pb
from authz.secret import Secret
from tests.support.checks import ANTHROPIC, OPENAI, allows, answer, question
from tests.support.identities import InMemoryIdentities, identity_of

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
OTHER = "Zbcdefghi1-Zbcdefghijklmnopqrstu2"
LOOSE = "Ab.defghi1-Abcdefghij_lmnopqrstu2"

_names = st.sampled_from(
    [
        *(*CREDENTIAL_HEADERS, *ACCOUNT_HEADERS, ":path", "x-request-id", "user-agent"),
        *("sec-websocket-protocol", "x-team-key"),
    ]
)
_words = st.sampled_from(
    [
        *(
            TOKEN,
            OTHER,
            LOOSE,
            f"Bearer {TOKEN}",
            "Bearer sk-1",
            "sk-1",
            "x",
            "%2d",
            "%252D",
            "%25",
            " ",
            "%41",
        ),
        *(f"openai-insecure-api-key.{TOKEN}", f"z{TOKEN}z", f"%41{TOKEN[1:]}"),
        *("openai-organization.x", ", realtime"),
        str(uuid.UUID(int=7)),
    ]
)
_values = st.lists(_words, max_size=3).map(lambda words: "".join(words).encode()) | st.binary(
    max_size=60
)
_headers = st.lists(st.tuples(_names, _values), max_size=6)

CACHE = DecisionCache(frozenset({"x-team-key"}))
"""One cache for all examples, so that later ones find entries of earlier ones."""


def _field(name: str, value: bytes) -> bytes:
    return pb.HeaderValue(key=name, raw_value=value).SerializeToString()


def _read(headers: list[tuple[str, bytes]]) -> Credentials | str:
    try:
        found = read(headers, FURTHER)
    except BadHeader as error:
        return str(error)
    return found


FURTHER = frozenset({"x-team-key"})


@settings(max_examples=500)
@given(_headers)
def test_what_tells_nothing_can_be_left_out(headers: list[tuple[str, bytes]]) -> None:
    """Reading the significant headers alone finds the same as reading all of them."""
    told = CACHE.significant_headers([_field(*header) for header in headers])
    some, every = _read([read_field(field) for field in told]), _read(headers)
    if isinstance(every, Credentials) and isinstance(some, Credentials):
        # The order of removed names has no meaning.
        assert set(some.token_headers) == set(every.token_headers)
        assert replace(some, token_headers=()) == replace(every, token_headers=())
    else:
        assert some == every


def test_a_token_in_the_request_id_tells() -> None:
    """Only a request id in Envoy's own form is skipped."""
    given_id = ("x-request-id", b"8a2c1b1a-1111-4111-8111-111111111111")
    assert DecisionCache().significant_headers([_field(*given_id)]) == ()
    for value in (TOKEN.encode(), given_id[1] + TOKEN.encode()):
        field = _field("x-request-id", value)
        assert DecisionCache().significant_headers([field]) == (field,)


def test_what_is_kept_is_bounded() -> None:
    """The cache keeps at most a few thousand headers and decisions."""
    decision_cache, source = DecisionCache(), InMemoryIdentities({TOKEN: "alice"})
    for number in range(10_000):
        decision_cache.significant_headers(
            [_field("x-foo", b"%d" % number), _field("x-long", b"x" * 5000)]
        )
    assert len(decision_cache._plain) <= 4096
    assert max(map(len, decision_cache._plain)) <= 512
    authorizer = Authorizer(Config(), source, {"anthropic": _pool("sk-1")})
    for number in range(5_000):
        asyncio.run(authorizer.check(question([("x-api-key", TOKEN)], path=f"/a?n={number}")))
    assert len(authorizer._cache._decisions) <= 4096


def test_a_refused_request_is_not_kept() -> None:
    """Refusals are not cached, so a flood of bad tokens evicts nothing."""
    source = InMemoryIdentities({TOKEN: "alice"})
    authorizer = Authorizer(Config(), source, {"anthropic": _pool("sk-1")})
    for token in (OTHER, "x", ""):
        asyncio.run(authorizer.check(question([("x-api-key", token)])))
    assert not authorizer._cache._decisions
    check = Check("GET", "/", [_field("x-api-key", TOKEN.encode())], ())
    assert authorizer._cache.get(authorizer._cache.key_of(check)) is None


async def test_byok_is_switched_off_while_a_look_up_waits() -> None:
    """A setting that changes during a look-up applies to later requests, but not to this one."""
    source = InMemoryIdentities({TOKEN: "alice"})
    verify, release = source.verify, asyncio.Event()

    async def slow(token: CoderToken) -> Identity | Rejection:
        await release.wait()
        return await verify(token)

    source.verify = slow  # type: ignore[method-assign]
    authorizer = Authorizer(Config(), source, {"anthropic": _pool("sk-1")})
    message = question([("x-coder-ai-governance-token", TOKEN), ("x-api-key", "sk-own")])
    waiting = asyncio.create_task(authorizer.check(message))
    await asyncio.sleep(0)
    authorizer.allow_byok = False
    release.set()
    assert allows(await waiting)
    for _ in range(2):
        assert answer(await authorizer.check(message)).denied_response.status.code == 403


class _Key:
    def __init__(self) -> None:
        self.secret: Secret | None = Secret("sk-1")

    def current(self) -> Secret | None:
        return self.secret


def _pool(text: str) -> KeyPool:
    key = _Key()
    key.secret = Secret(text)
    return KeyPool("a", [key], has_cooldown=False)


async def test_an_answer_that_can_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose allow can't be written is not allowed, and neither is the next one."""
    key = _Key()
    source = InMemoryIdentities({TOKEN: "alice"})
    authorizer = Authorizer(
        Config(), source, {"anthropic": KeyPool("a", [key], has_cooldown=False)}
    )
    message = question([("x-api-key", TOKEN)])
    assert allows(await authorizer.check(message))
    key.secret = Secret("sk-2")
    with monkeypatch.context() as broken:
        broken.setattr(ext_authz, "allow", _fails)
        for _ in range(3):
            assert not allows(await authorizer.check(message))
    option = answer(await authorizer.check(message)).ok_response.headers[0]
    assert option.header.value == "sk-2"


def _fails(*_: object) -> bytes:
    raise ValueError


_Request = tuple[list[tuple[str, str | bytes]], dict[str, str], str]
_requests: st.SearchStrategy[_Request] = st.tuples(
    st.lists(
        st.tuples(
            st.sampled_from(["x-coder-ai-governance-token", "authorization", "x-api-key", "x-foo"]),
            st.sampled_from([TOKEN, f"Bearer {TOKEN}", OTHER, "Bearer sk-own", "sk-own"]),
        ),
        max_size=3,
        unique_by=lambda header: header[0],
    ),
    st.sampled_from([ANTHROPIC, OPENAI, {**ANTHROPIC, "supported": "false"}, {}]),
    st.sampled_from(["/anthropic/v1/messages", "/x?key=1", "/x"]),
)
_events = st.sampled_from(["delete", "create", "suspend", "byok off", "byok on", "key", "no key"])


@settings(max_examples=300)
@given(st.lists(_requests | _events, max_size=12))
def test_a_request_gets_what_it_would_get_first(steps: list[_Request | str]) -> None:
    """An authorizer with a cache answers like a fresh one, whatever came before."""
    source = InMemoryIdentities({TOKEN: "alice"})
    (token,) = source._verdicts
    key = _Key()
    pools = {"anthropic": KeyPool("anthropic", [key], has_cooldown=False)}
    authorizer = Authorizer(Config(), source, pools)
    for number, step in enumerate(steps):
        match step:
            case "delete":
                source._verdicts.pop(token, None)
            case "create":
                source._verdicts[token] = identity_of(TOKEN, f"alice{number}")
            case "suspend":
                source._verdicts[token] = Rejection.USER_INACTIVE
            case "byok off" | "byok on":
                authorizer.allow_byok = step == "byok on"
            case "key":
                key.secret = Secret(f"sk-{number}")
            case "no key":
                key.secret = None
            case (headers, context, path):
                message = question(headers, context, path=path)
                fresh = Authorizer(Config(allow_byok=authorizer.allow_byok), source, pools)
                assert _answered(authorizer, message) == _answered(fresh, message)


_COMPAT = {"provider": "compat", "base_url": "https://compat.example/v1", "supported": "true"}
_GEMINI = {"provider": "gemini", "base_url": "https://gemini.example/", "supported": "true"}
_TYPES = Config(
    providers=(
        Provider(
            name="compat",
            type="openai-compat",
            base_url="https://compat.example/v1",
            credential_headers=("x-team-key",),
            account_headers={"openai-project": "proj-company"},
        ),
        Provider(name="gemini", type="gemini", base_url="https://gemini.example"),
    )
)
_some_names = st.sampled_from(
    [
        *("x-coder-ai-governance-token", "authorization", "x-api-key", "x-goog-api-key"),
        *("apikey", "x-team-key", "openai-organization", "openai-project", "x-goog-user-project"),
        *("sec-websocket-protocol", "x-request-id", "user-agent", "X-Team-Key", "Authorization"),
    ]
)
_some_values = st.sampled_from(
    [
        *(TOKEN, f"Bearer {TOKEN}", f"bearer  {TOKEN} ", OTHER, "sk-own", "Bearer sk-own", "", " "),
        *(f"openai-insecure-api-key.{TOKEN}", f"realtime, openai-insecure-api-key.{TOKEN}"),
        *("realtime", "org-1", "undefined", "sk-ant-oat01-x", "\t", "\xff", f"x {TOKEN} y"),
        *("x" * 600, f"{'y' * 3000}{TOKEN}", "z" * 3000),
        *(str(uuid.UUID(int=7)), str(uuid.UUID(int=8)).upper(), f"{uuid.UUID(int=9)}{TOKEN}"),
        *(f"{str(uuid.UUID(int=9))[:-1]}-", f"a{uuid.UUID(int=9)}"),
    ]
)
_pairs = st.tuples(_some_names, _some_values) | st.sampled_from(
    [
        ("sec-websocket-protocol", f"realtime, openai-insecure-api-key.{TOKEN}"),
        ("sec-websocket-protocol", "realtime"),
        ("user-agent", f"x {TOKEN} y"),
        ("x-request-id", f"{uuid.UUID(int=9)}{TOKEN}"),
        ("x-request-id", str(uuid.UUID(int=7))),
        ("openai-organization", "org-1"),
        ("x-team-key", "sk-own"),
        ("apikey", "sk-own"),
        ("x-goog-api-key", "sk-own"),
    ]
)
_queries = st.sampled_from(
    ["", "?key=K", "?KEY=K", "?userProject=p", "?$httpMethod=x", f"?a={TOKEN}", "?apikey=K", "?a=1"]
)
_asked = st.tuples(
    st.lists(_pairs, max_size=5),
    st.sampled_from([_COMPAT, _GEMINI]),
    _queries,
)
# Requests that are likely to be allowed and cached, with something that similar ones lack.
_likely = st.tuples(
    st.lists(_pairs, max_size=2).map(lambda more: [("x-coder-ai-governance-token", TOKEN), *more]),
    st.sampled_from([_COMPAT, _GEMINI]),
    _queries,
)


class _EveryHeader(DecisionCache):
    """A cache that keeps nothing and skips no header."""

    def significant_headers(self, fields: Iterable[bytes]) -> tuple[bytes, ...]:
        """Return all headers."""
        return tuple(fields)


@settings(max_examples=150, deadline=None)
@given(st.lists(_asked | _likely, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_kept_decision_is_a_fresh_one(
    asked: list[tuple[list[tuple[str, str]], dict[str, str], str]], random: Random
) -> None:
    """A cached decision equals a fresh one for any order, case, number and length of headers."""
    source = InMemoryIdentities({TOKEN: "alice"})
    pools = {"compat": _pool("sk-compat"), "gemini": _pool("sk-gemini")}
    for byok in (True, False):
        config = _TYPES.model_copy(update={"allow_byok": byok})
        kept = Authorizer(config, source, pools)
        for headers, context, query in asked:
            shuffled = random.sample(headers, len(headers))
            for variant in (headers, headers, shuffled, headers[:-1], [*headers, *headers[:1]]):
                raw = [(name, value.encode("latin-1")) for name, value in variant]
                message = question(raw, context, path=f"/x{query}")
                fresh = Authorizer(config, source, pools)
                fresh._cache = _EveryHeader()
                assert _sets(_answered(kept, message)) == _sets(_answered(fresh, message))


def _sets(response: pb.CheckResponse) -> tuple[object, ...]:
    """Return an answer without the order of its removed headers, which has no meaning."""
    removed = sorted(response.ok_response.headers_to_remove)
    del response.ok_response.headers_to_remove[:]
    return removed, response.SerializeToString(deterministic=True)


def _answered(authorizer: Authorizer, message: bytes) -> pb.CheckResponse:
    response = answer(asyncio.run(authorizer.check(message)))
    if "entry" in response.dynamic_metadata.fields:
        del response.dynamic_metadata.fields["entry"]
    return response
