"""A second credential beside the central key, in every header and every way to write one."""

import contextlib

import pytest

from authz.core.header_names import ACCOUNT_HEADERS, CREDENTIAL_HEADERS
from tests.support import raw
from tests.support.every_type import CENTRAL
from tests.support.pair import Pair
from tests.support.provider import RecordedRequest
from tests.support.raw import Closed, Headers

GOVERNANCE = "x-coder-ai-governance-token"
MARKER = "smuggled-0f3a9b7c5d1e"
PATHS = {
    "azure": "/azure/openai/models",
    "gemini": "/gemini/v1beta/models",
    "google": "/google/v1/models",
    "openai": "/openai/v1/models",
    "compat": "/compat/v1/models",
    "bedrock": "/bedrock/openai/v1/models",
}
HEADERS = [
    *(name for name in (*CREDENTIAL_HEADERS, *ACCOUNT_HEADERS) if name != GOVERNANCE),
    "x-team-key",
]
WAYS = ["plain", "bearer", "case", "spaces", "tab", "listed", "underscores", "twice", "empty first"]


@pytest.fixture(scope="module")
def token(every_type_without_byok: Pair) -> str:
    """A token of alice."""
    return every_type_without_byok.create_token("alice")


def _written(header: str, way: str) -> Headers:
    match way:
        case "bearer":
            return [(header, f"Bearer {MARKER}")]
        case "case":
            return [(header.title(), MARKER), ("X-Nothing", "x")]
        case "spaces":
            return [(header, f"   {MARKER}   ")]
        case "tab":
            return [(header, f"\t{MARKER}\t")]
        case "listed":
            return [(header, MARKER), ("connection", f"keep-alive, {header}")]
        case "underscores":
            return [(header.replace("-", "_"), MARKER), (header.replace("-", "_", 1), MARKER)]
        case "twice":
            return [(header, MARKER), (header.upper(), MARKER)]
        case "empty first":
            return [(header, ""), (header, MARKER)]
        case _:
            return [(header, MARKER)]


def _ask(pair: Pair, data: bytes) -> tuple[int, list[RecordedRequest]]:
    pair.provider.take()
    try:
        status = raw.ask(pair.port, data).status
    except Closed:
        status = 0
    return status, pair.provider.take()


@pytest.mark.parametrize("place", [GOVERNANCE, "x-api-key", "authorization"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", list(PATHS))
def test_one_credential(
    every_type_without_byok: Pair, token: str, name: str, way: str, place: str
) -> None:
    """With BYOK off the provider gets the central key alone, or the request is refused."""
    mine = (place, f"Bearer {token}" if place == "authorization" else token)
    for header in HEADERS:
        written = _written(header, way)
        data = raw.request("GET", PATHS[name], [mine, *written])
        status, seen = _ask(every_type_without_byok, data)
        for visit in seen:
            text = repr(visit.headers) + visit.query
            # One that Envoy takes for a plain header has another name than the credential's.
            assert MARKER not in text, (header, written)
            assert token.partition("-")[2] not in text, header
            assert CENTRAL[name] in text, header
        # Envoy drops what `Connection` names; so the token itself can go.
        dropped = way == "listed" and header == place
        assert status in ((401,) if dropped else (200, 400, 403)), (header, status)


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={m}&X-Amz-Signature={m}",
        "X-Amz-Security-Token={m}",
        "x-amz-signature={m}",
        "X%2DAmz%2DSignature={m}",
        "X-Amz-Credential%3D{m}",
        "a=b;X-Amz-Signature={m}",
        "X-Amz-Signature={m}&X-Amz-Signature={m}2",
        "a=%26X-Amz-Credential={m}",
    ],
)
@pytest.mark.parametrize("place", [GOVERNANCE, "x-api-key"])
def test_signature_in_the_query(
    every_type_without_byok: Pair, token: str, query: str, place: str
) -> None:
    """A signature of SigV4 in the query is refused or removed; Envoy's own is the only one."""
    target = f"{PATHS['bedrock']}?{query.format(m=MARKER)}"
    status, seen = _ask(every_type_without_byok, raw.request("GET", target, [(place, token)]))
    assert status in (200, 400, 403)
    for visit in seen:
        assert MARKER not in visit.query
        assert "x-amz-s" not in visit.query.lower()
        assert dict(visit.headers)["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIA")


def test_signature_in_a_header(every_type_without_byok: Pair, token: str) -> None:
    """A client's own signature in headers is refused or replaced."""
    mine: Headers = [("x-api-key", token)]
    signature = f"AWS4-HMAC-SHA256 Credential={MARKER}/x SignedHeaders=host Signature=0"
    for own in (
        [("authorization", signature)],
        [("authorization", signature.replace(" S", ", S"))],
        [("x-amz-date", "20260101T000000Z"), ("x-amz-content-sha256", MARKER)],
        [("x-amz-security-token", MARKER)],
    ):
        request = raw.request("GET", PATHS["bedrock"], [*mine, *own])
        status, seen = _ask(every_type_without_byok, request)
        assert status in (200, 400)
        for visit in seen:
            assert MARKER not in repr(visit.headers)
            assert "20260101T000000Z" not in repr(visit.headers)


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("coding", ["chunked", "Chunked", "chunked ", "\tchunked"])
def test_what_is_behind_a_chunked_body(
    every_type_without_byok: Pair, token: str, version: str, coding: str
) -> None:
    """A request that follows a chunked body has no token, in HTTP/1.0 too."""
    pair = every_type_without_byok
    head = (
        f"POST /openai/v1/chat/completions {version}\r\nhost: x\r\nconnection: keep-alive\r\n"
        f"x-api-key: {token}\r\ncontent-type: application/json\r\n"
        f"transfer-encoding:{coding}\r\n\r\n"
    )
    hidden = b"GET /openai/v1/models?hidden HTTP/1.1\r\nhost: x\r\n\r\n"
    pair.provider.take()
    with raw.Connection(pair.port) as connection:
        connection.send(head.encode() + b"2\r\n{}\r\n0\r\n\r\n" + hidden)
        statuses: list[int] = []
        connection.wait_at_most(3.0)
        with contextlib.suppress(Closed, TimeoutError):
            while len(statuses) < 2:
                statuses.append(connection.read_status())
    assert statuses[1:] in ([], [401])
    assert not [visit for visit in pair.provider.take() if visit.query]
