"""authz.oauth.token_endpoint: requests that are wrong, limits, and the metadata."""

from authz.oauth.machines import JWT_BEARER, TOKEN_EXCHANGE
from authz.oauth.token_endpoint import MAX_BODY_BYTES, PER_PEER, TOKEN_PATH
from tests.unit.oauth.endpoint import GITHUB, Endpoint


async def test_requests_that_are_wrong(endpoint: Endpoint) -> None:
    """A request that is wrong gets the error of RFC 6749 section 5.2."""
    cases: list[tuple[dict[str, str], str]] = [
        ({}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": TOKEN_EXCHANGE}, "invalid_request"),
        ({"grant_type": TOKEN_EXCHANGE, "subject_token": "x"}, "invalid_request"),
        ({"grant_type": JWT_BEARER}, "invalid_request"),
        ({"grant_type": JWT_BEARER, "assertion": ""}, "invalid_request"),
        ({"grant_type": JWT_BEARER, "assertion": "x"}, "invalid_grant"),
        ({"grant_type": JWT_BEARER, "assertion": "x" * 20_000}, "invalid_grant"),
    ]
    for form, error in cases:
        response = await endpoint.post(**form)
        assert response.status_code == 400
        assert response.json()["error"] == error
        assert response.headers["cache-control"] == "no-store"


async def test_exchanges_that_are_not_supported(endpoint: Endpoint) -> None:
    """Delegation and other types of tokens are refused."""
    text = endpoint.server.sign(**GITHUB)
    for changed in (
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"actor_token": text},
    ):
        response = await endpoint.exchange(text, **changed)
        assert response.json()["error"] == "invalid_request"
    response = await endpoint.exchange(text, scope="read")
    assert response.json()["error"] == "invalid_scope"


async def test_a_parameter_twice(endpoint: Endpoint) -> None:
    """A parameter that appears twice is refused, as RFC 6749 section 3.2 asks."""
    body = f"grant_type={JWT_BEARER}&assertion=a&assertion=b"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    response = await endpoint.client.post(TOKEN_PATH, content=body, headers=headers)
    assert response.json()["error"] == "invalid_request"


async def test_bodies_that_are_wrong(endpoint: Endpoint) -> None:
    """A body of another type, too long or malformed is refused."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    for body, headers, status in (
        (b"{}", {"content-type": "application/json"}, 400),
        (b"a=" + b"x" * (MAX_BODY_BYTES + 1), form, 413),
        (b"grant_type=%ff&\xff=1", form, 400),
        (b"grant_type", form, 400),
        (b"&".join(b"a%d=1" % n for n in range(60)), form, 400),
    ):
        response = await endpoint.client.post(TOKEN_PATH, content=body, headers=headers)
        assert response.status_code == status
        assert response.json()["error"] == "invalid_request"
    assert (await endpoint.client.get(TOKEN_PATH)).status_code == 405


async def test_guesses_are_limited(endpoint: Endpoint) -> None:
    """One address may be refused sixty times a minute; a JWT that is valid doesn't count."""
    text = endpoint.server.sign(**GITHUB)
    for _ in range(2):
        assert (await endpoint.exchange(text)).status_code == 200
    for _ in range(PER_PEER):
        assert (await endpoint.post(grant_type=JWT_BEARER, assertion="x")).status_code == 400
    response = await endpoint.exchange(text)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1


async def test_metadata(endpoint: Endpoint) -> None:
    """The metadata of RFC 8414 names the endpoint at the host that was asked, and the grants."""
    place = "/.well-known/oauth-authorization-server"
    found = (await endpoint.client.get(place)).json()
    assert found["issuer"] == "http://gateway.test"
    assert found["token_endpoint"] == "http://gateway.test/oauth/token"
    assert found["grant_types_supported"] == [JWT_BEARER, TOKEN_EXCHANGE]
    forged = {"host": "gateway.test/@evil.test", "x-forwarded-proto": "https"}
    assert (await endpoint.client.get(place, headers=forged)).status_code == 400
    assert (await endpoint.client.get(place, headers={"x-forwarded-proto": "https"})).json()[
        "issuer"
    ] == "http://gateway.test"


async def test_the_issuer_is_down(endpoint: Endpoint) -> None:
    """Without the issuer's keys the answer is 503, and later a token."""
    endpoint.server.status = 500
    response = await endpoint.exchange(endpoint.server.sign(**GITHUB))
    assert response.status_code == 503
    assert response.json()["error"] == "temporarily_unavailable"
