"""Credential headers that are doubled, malformed, hidden or in the wrong place."""

import pytest

from tests.attack.target import (
    BODY,
    CREDENTIAL_HEADERS,
    GOVERNANCE,
    MESSAGES,
    Target,
)
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, SUBSCRIPTION

H2 = [(":method", "POST"), (":scheme", "http"), (":path", MESSAGES), (":authority", "gateway")]
FURTHER_HEADERS = ("api-key", "x-goog-api-key", "x-auth-token", "proxy-authorization")


def _refused(outcome_status: int | None, error_type: str) -> None:
    assert outcome_status == 400
    assert error_type == "invalid_request_error"


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
@pytest.mark.parametrize(
    "spell", [str.lower, str.title, str.upper], ids=["lower", "title", "upper"]
)
def test_doubled_header(target: Target, header: str, spell: type[str]) -> None:
    """A credential header that is sent twice is 400, however its name is spelled."""
    value = target.value(header)
    seconds = [value, target.value(header, target.other)]
    if header != "authorization":
        seconds.append("")
    for second in seconds:
        for pair in ([value, second], [second, value]):
            outcome = target.post([(header, pair[0]), (spell(header), pair[1])])
            _refused(outcome.status, outcome.error_type)
            assert outcome.seen == []


def test_empty_second_authorization(target: Target) -> None:
    """The provider gets one credential, although Envoy silently drops an empty Authorization."""
    own = f"Bearer {OWN_KEYS['openai']}"
    for first, second in ((own, ""), ("", own)):
        outcome = target.post(
            [(GOVERNANCE, target.token), ("authorization", first), ("Authorization", second)],
            "/openai/v1/chat/completions",
        )
        if outcome.status == 200:
            (visit,) = outcome.seen
            assert visit.all("authorization") == [own]
        else:
            _refused(outcome.status, outcome.error_type)


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
def test_doubled_header_in_http2(target: Target, header: str) -> None:
    """A credential header that is sent twice is 400 in HTTP/2 too."""
    first, second = target.value(header), target.value(header, target.other)
    outcome = target.send_h2([*H2, (header, first), (header, second)])
    _refused(outcome.status, outcome.error_type)
    assert outcome.seen == []


@pytest.mark.parametrize("header", FURTHER_HEADERS)
def test_further_doubled_header(target: Target, header: str) -> None:
    """Any other header that may carry a credential is 400 when doubled, token or not."""
    outcome = target.post([*target.valid(), (header, "one"), (header, "two")])
    _refused(outcome.status, outcome.error_type)
    assert outcome.seen == []


def test_doubled_header_before_byok_is_refused(target_without_byok: Target) -> None:
    """A doubled own key is 400 even if BYOK is off, since it is ambiguous."""
    own = OWN_KEYS["anthropic"]
    headers = [(GOVERNANCE, target_without_byok.token), ("x-api-key", own), ("x-api-key", own)]
    outcome = target_without_byok.post(headers)
    _refused(outcome.status, outcome.error_type)


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
@pytest.mark.parametrize("byte", [b"\x80", b"\xa0", b"\xff", b"\xc3\xa9", b"\xe2\x80\x8b"])
@pytest.mark.parametrize("where", ["before", "inside", "behind"])
def test_byte_outside_ascii(target: Target, header: str, byte: bytes, where: str) -> None:
    """A byte outside ASCII in a credential header is 400, at any position in the token."""
    token = target.token.encode()
    token = {
        "before": byte + token,
        "inside": token[:9] + byte + token[9:],
        "behind": token + byte,
    }[where]
    value = b"Bearer " + token if header == "authorization" else token
    outcome = target.post([(header, value)])
    _refused(outcome.status, outcome.error_type)
    assert outcome.seen == []


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\x1b", b"\x7f", b"\n"])
def test_control_byte(target: Target, header: str, byte: bytes) -> None:
    """A control byte in a credential header is 400, before authz is asked."""
    outcome = target.post([(header, target.value(header).encode() + byte + b"x")])
    _refused(outcome.status, outcome.error_type)
    assert outcome.seen == []


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
@pytest.mark.parametrize("space", [b" ", b"\t", b"\r", b"\r\t"])
def test_space_in_token(target: Target, header: str, space: bytes) -> None:
    """White space ends a token, so a value with white space inside never passes."""
    outcome = target.post([(header, target.value(header).encode() + space + b"x")])
    assert outcome.status in (400, 401)
    assert outcome.seen == []


def test_odd_byte_in_http2(target: Target) -> None:
    """A value with a byte outside visible ASCII, which HTTP/2 can carry, never passes."""
    requests: list[raw.Headers] = [
        [*H2, (header, target.value(header).encode() + byte)]
        for header in CREDENTIAL_HEADERS
        for byte in (b"\x00", b"\r", b"\n", b"\r\nx-api-key: x", b"\x80")
    ]
    for headers, outcome in zip(requests, target.send_each_h2(requests), strict=True):
        assert outcome.status in (None, 400, 401), headers
        assert outcome.seen == []


@pytest.mark.parametrize(
    "injected",
    [
        b"\r\nx-api-key: injected",
        b"\nx-api-key: injected",
        b"\r\n\r\nGET /anthropic/v1/models HTTP/1.1\r\n\r\n",
        b"%0d%0ax-api-key: injected",
        b"\\r\\nx-api-key: injected",
    ],
)
@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
def test_line_break_in_token(target: Target, header: str, injected: bytes) -> None:
    """A line break behind a bad token does not add a header that a decision is based on."""
    bad = target.value(header, target.token[:-1] + "!").encode()
    outcome = target.post([(header, bad + injected)])
    assert outcome.status in (400, 401)
    assert outcome.seen == []


@pytest.mark.parametrize("header", [GOVERNANCE, "x-api-key"])
@pytest.mark.parametrize("comma", [",", ", ", " ,"])
def test_tokens_joined_by_comma(target: Target, header: str, comma: str) -> None:
    """Two good tokens joined by a comma are not a valid token."""
    outcome = target.post([(header, f"{target.token}{comma}{target.other}")])
    assert (outcome.status, outcome.error_type) == (401, "authentication_error")
    assert outcome.seen == []


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
@pytest.mark.parametrize("length", [32, 34, 1000, 50_000])
def test_token_of_wrong_length(target: Target, header: str, length: int) -> None:
    """A token that is too short, too long or huge gets the answer of every bad token."""
    token = (target.token * (length // len(target.token) + 1))[:length]
    outcome = target.post([(header, target.value(header, token))])
    assert (outcome.status, outcome.error_type) == (401, "authentication_error")
    assert outcome.answer is not None
    assert outcome.answer.header("www-authenticate") == "Bearer"
    assert outcome.answer.header("x-should-retry") == "false"
    assert outcome.seen == []


@pytest.mark.parametrize(
    "value",
    [
        "{token}",
        "Bearer",
        "Bearer {token} {token}",
        "Basic {token}",
        "Token {token}",
        "Bearer{token}",
        "Bearer={token}",
        "Bearer '{token}'",
        'Bearer "{token}"',
        "Bearer {token};",
        "Bearer Bearer {token}",
    ],
)
def test_authorization_that_is_no_bearer(target: Target, value: str) -> None:
    """A value other than exactly ``Bearer`` and a token is not a credential."""
    outcome = target.post([("authorization", value.format(token=target.token))])
    assert (outcome.status, outcome.error_type) == (401, "authentication_error")
    assert outcome.seen == []


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
def test_connection_names_the_token_header(target: Target, header: str) -> None:
    """A token that ``Connection`` marks as meant for the next hop only does not count: 401."""
    for listed in (header, header.upper(), f"keep-alive, {header}", ", ".join(CREDENTIAL_HEADERS)):
        outcome = target.post([(header, target.value(header)), ("connection", listed)])
        assert (outcome.status, outcome.error_type) == (401, "authentication_error")
        assert outcome.seen == []


@pytest.mark.parametrize(
    ("listed", "status"), [("x-api-key", 200), (GOVERNANCE, 401), (f"x-api-key, {GOVERNANCE}", 401)]
)
def test_connection_names_a_header_of_byok(target: Target, listed: str, status: int) -> None:
    """A credential that ``Connection`` drops never causes the wrong one to be sent on."""
    outcome = target.post(
        [(GOVERNANCE, target.token), ("x-api-key", OWN_KEYS["anthropic"]), ("connection", listed)]
    )
    assert outcome.status == status
    assert [visit.credential for visit in outcome.seen] == (
        [CENTRAL_KEYS["anthropic"]] if status == 200 else []
    )


def test_connection_does_not_switch_byok_on(target_without_byok: Target) -> None:
    """An own key that ``Connection`` drops reaches no provider if BYOK is off."""
    headers = [(GOVERNANCE, target_without_byok.token), ("authorization", f"Bearer {SUBSCRIPTION}")]
    outcome = target_without_byok.post([*headers, ("connection", "authorization")])
    assert [visit.credential for visit in outcome.seen] == [CENTRAL_KEYS["anthropic"]]
    outcome = target_without_byok.post(headers)
    assert (outcome.status, outcome.error_type) == (403, "permission_error")
    assert outcome.seen == []


@pytest.mark.parametrize("name", ["x_api_key", "X_Api_Key", "x-coder_ai-governance-token", "a_b"])
def test_underscore_in_header_name(target: Target, name: str) -> None:
    """A header name that some servers read as another one is dropped, and is not a credential."""
    pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "g"), (":path", MESSAGES)]
    rest = [(name.lower(), target.other), ("content-type", "application/json")]
    for outcome in (
        target.post([*target.valid(), (name, target.other)]),
        target.send_h2([*pseudo, *target.valid(), *rest]),
    ):
        assert outcome.status == 200
        (seen,) = outcome.seen
        assert seen.all(name) == []
        assert not [header for header, _ in seen.headers if "_" in header]
    for outcome in (target.post([(name, target.token)]), target.send_h2([*pseudo, *rest])):
        assert (outcome.status, outcome.error_type) == (401, "authentication_error")
        assert outcome.seen == []


@pytest.mark.parametrize("name", ["session_id", "conversation_id"])
def test_underscored_headers_of_clients(target: Target, name: str) -> None:
    """Underscored headers of Codex, pi and opencode are dropped, and the request is served."""
    outcome = target.post([*target.valid(), (name, "0199a213-81c0")])
    assert outcome.status == 200
    assert [visit.all(name) for visit in outcome.seen] == [[]]


@pytest.mark.parametrize(
    "name", ["x-api-key ", " x-api-key", "x-api-key\t", "x api key", "x-api-key\x00"]
)
def test_space_in_header_name(target: Target, name: str) -> None:
    """A header name with a space or NUL is 400 or ignored; it is never a credential."""
    outcome = target.post([(name, target.token)])
    assert outcome.status in (400, 401)
    assert outcome.seen == []


@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b"\n "])
def test_folded_header(target: Target, fold: bytes) -> None:
    """A token on a folded line never counts, neither as its own header nor with the line above."""
    head = b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: gateway\r\ncontent-length: 2\r\n"
    token = target.token.encode()
    for lines in (
        b"x-other: one" + fold + b"x-api-key: " + token,
        b"x-api-key: " + token[:10] + fold + token[10:],
        b"x-api-key: " + token + fold + b"more",
    ):
        outcome = target.send(head + lines + b"\r\n\r\n{}")
        assert outcome.status in (400, 401)
        assert outcome.seen == []


@pytest.mark.parametrize(
    "path",
    [
        "/anthropic/v1/models?key={token}",
        "/anthropic/v1/models?a=b&access_token={token}#",
        "/anthropic/v1/models/{token}",
        "/anthropic/v1/models/{token}/x",
        "/anthropic/{token}/v1/models",
        "/{token}/v1/models",
        "/anthropic/v1/models?x={token}y",
    ],
)
def test_token_of_the_request_in_url(target: Target, path: str) -> None:
    """The request's own Coder token in the URL is 400, since URLs are logged along the way."""
    outcome = target.get(path.format(token=target.token))
    assert outcome.status == 400
    assert outcome.error_type == "invalid_request_error"
    assert outcome.seen == []


@pytest.mark.parametrize(
    "encode",
    [
        lambda token: token.replace("-", "%2D"),
        lambda token: token.replace("-", "%2d"),
        lambda token: "".join(f"%{ord(character):02x}" for character in token),
        lambda token: token.replace("-", "%252D"),
        lambda token: token.replace("-", "%25252d"),
        lambda token: token.replace("-", "%2D").replace("%", "%25", 1).replace("a", "%61"),
    ],
    ids=["hyphen", "hyphen-lower", "all", "twice", "three times", "mixed"],
)
@pytest.mark.parametrize("path", ["/anthropic/v1/models?key=", "/anthropic/v1/models/"])
def test_escaped_token_in_url(target: Target, path: str, encode: "type[str]") -> None:
    """A percent-encoded Coder token does not reach the provider, however often it is encoded."""
    outcome = target.get(path + encode(target.token))
    assert (outcome.status, outcome.error_type) == (400, "invalid_request_error")
    assert outcome.seen == []


@pytest.mark.parametrize("escape", ["%2D", "%2d", "%252D"])
@pytest.mark.parametrize("header", ["referer", "x-anything", "user-agent"])
def test_escaped_token_in_a_header(target: Target, header: str, escape: str) -> None:
    """A header with an escaped Coder token, such as a Referer, does not reach the provider."""
    for token in (target.token, target.other):
        value = f"https://gateway.test/x?key={token.replace('-', escape)}"
        outcome = target.post([*target.valid(), (header, value)])
        assert outcome.status == 200
        (seen,) = outcome.seen
        assert seen.all(header) == []


@pytest.mark.parametrize("path", ["/anthropic/v1/models?key=", "/anthropic/v1/models/"])
def test_further_token_in_url(target: Target, path: str) -> None:
    """A Coder token in the URL is 400 too if another one is in the header."""
    outcome = target.get(path + target.other)
    assert (outcome.status, outcome.error_type) == (400, "invalid_request_error")
    assert outcome.seen == []


@pytest.mark.parametrize("headers", [[], [("authorization", "Basic eDp5")]])
def test_token_in_url_alone(target: Target, headers: raw.Headers) -> None:
    """A Coder token in the URL alone does not authenticate."""
    for path in ("/anthropic/v1/models?coder_session_token=", "/anthropic/v1/models/"):
        outcome = target.get(path + target.token, headers)
        assert outcome.status in (400, 401)
        assert outcome.seen == []


@pytest.mark.parametrize(
    "header",
    ["x-other", "referer", "cookie", "coder-session-token", "x-coder-token", "user-agent", "x-a"],
)
def test_token_in_another_header(target: Target, header: str) -> None:
    """A Coder token in any other header does not reach the provider."""
    for token in (target.token, target.other):
        outcome = target.post([*target.valid(), (header, f"prefix {token} suffix")])
        assert outcome.status == 200
        (visit,) = outcome.seen
        assert visit.credential == CENTRAL_KEYS["anthropic"]


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_other_coder_token_as_provider_credential(target: Target, scheme: str) -> None:
    """Another person's Coder token in the provider's header is dropped; the central key is used."""
    headers = [(GOVERNANCE, target.token), ("authorization", f"{scheme} {target.other}")]
    for path in (MESSAGES, "/openai/v1/chat/completions"):
        outcome = target.post(headers, path)
        assert outcome.status == 200
        provider = path.split("/")[1]
        assert [visit.credential for visit in outcome.seen] == [CENTRAL_KEYS[provider]]


def test_forbidden_header_name_in_http2(target: Target) -> None:
    """An upper-case name, an unknown pseudo-header or Connection is refused in HTTP/2."""
    names = ("X-Api-Key", "x-API-key", ":x-api-key", "connection")
    outcomes = target.send_each_h2([[*H2, (name, target.token)] for name in names])
    for name, outcome in zip(names, outcomes, strict=True):
        assert outcome.status in (None, 400), name
        assert outcome.seen == []


def test_valid_token_passes(target: Target) -> None:
    """The same request without any trick passes, in HTTP/1.1 and in HTTP/2."""
    for outcome in (target.post(target.valid()), target.send_h2([*H2, *target.valid()])):
        assert outcome.status == 200
        assert [visit.credential for visit in outcome.seen] == [CENTRAL_KEYS["anthropic"]]
    assert raw.request("POST", MESSAGES, target.valid(), BODY).endswith(BODY)
