"""The checks that a real Envoy Gateway 1.9.1 sent, recorded as they came (``checks/``)."""

import asyncio
from pathlib import Path

import pytest

from authz.check.authorizer import Authorizer
from authz.config.external_gateways import Secrets
from authz.external.reader import ExternalReader
from authz.pb import external_check_pb2 as pb
from tests.support.checks import answer
from tests.support.external_checks import external_config, resources
from tests.support.identities import InMemoryIdentities

TOKEN = "abcdefghij-0123456789012345678901"
NAMESPACE = "envoy-gateway-system"
CONFIG = external_config(
    external_gateways={
        "routes": [
            {"httproute": f"{NAMESPACE}/{name}", "path": f"/{name}", "provider": name}
            for name in ("anthropic", "openai")
        ]
    }
)
READER = ExternalReader(CONFIG, Secrets(None, None))
AUTHORIZER = Authorizer(CONFIG, InMemoryIdentities({TOKEN: "alice"}), {}, reader=READER)

CHECKS = {
    56: (503, 404),  # GET /anthropic/v1/messages, with a key in the query
    57: (503, 404),  # forged x-envoy-foo, x-coder-owner and x-forwarded-*
    58: (503, 400),  # x-api-key: A,B
    59: (503, 400),  # authorization: Bearer A,Bearer B
    60: (503, 400),  # x-api-key: ,B
    61: (503, 400),  # x-api-key with bytes that are not UTF-8
    62: (401, 401),  # GET /openai/v1/x
    63: (401, 401),
    64: (503, 401),  # /anthropic/v1/%252e%252e/x
    **dict.fromkeys(range(65, 72), (503, 401)),
    72: (401, 401),  # authorization: Bearer A
    73: (401, 401),
    74: (401, 401),
    75: (503, 400),  # a WebSocket with an API key in its subprotocols
}
"""The statuses of each check as it came, and with the metadata of a bound HTTPRoute."""


def _recorded(number: int) -> pb.CheckRequest:
    file = Path(__file__).parent / "checks" / f"check-{number:03}.bin"
    return pb.CheckRequest.FromString(file.read_bytes())


def _status(check: pb.CheckRequest) -> int:
    response = answer(asyncio.run(AUTHORIZER.check(check.SerializeToString())))
    return response.denied_response.status.code if response.status.code else 200


def test_every_recorded_check_is_here() -> None:
    """No recorded check is left out."""
    folder = Path(__file__).parent / "checks"
    assert {f"check-{number:03}.bin" for number in CHECKS} == {one.name for one in folder.iterdir()}


@pytest.mark.parametrize(("number", "statuses"), CHECKS.items())
def test_a_recorded_check(number: int, statuses: tuple[int, int]) -> None:
    """A provider named without a secret is a 503; a bound route gets the usual answers."""
    check = _recorded(number)
    path = check.attributes.request.http.path
    as_it_came, bound = statuses
    assert _status(check) == as_it_came
    check.attributes.context_extensions.clear()
    check.attributes.route_metadata_context = resources(f"{NAMESPACE}/{path.split('/')[1]}")
    assert _status(check) == bound


@pytest.mark.parametrize("number", CHECKS)
def test_a_recorded_check_with_a_token(number: int) -> None:
    """With a listed path and a good token, each recorded shape of a check can be an allow."""
    check = _recorded(number)
    http = check.attributes.request.http
    provider = http.path.split("/")[1]
    http.method, http.path = "GET", f"/{provider}/v1/models"
    changed = {
        ":method": "GET",
        ":path": http.path,
        "x-coder-ai-governance-token": TOKEN,
        "authorization": "Bearer sk-own",
    }
    entries = map(pb.HeaderEntry.FromString, list(http.headers))
    refused = {"x-api-key", "upgrade", "sec-websocket-protocol"}
    headers = {one.key: one.value for one in entries if one.key not in refused} | changed
    http.headers[:] = [
        pb.HeaderEntry(key=key, value=value).SerializeToString() for key, value in headers.items()
    ]
    check.attributes.context_extensions.clear()
    check.attributes.route_metadata_context = resources(f"{NAMESPACE}/{provider}")
    response = answer(asyncio.run(AUTHORIZER.check(check.SerializeToString())))
    assert response.status.code == 0
    removed = set(response.ok_response.headers_to_remove)
    assert removed.isdisjoint({"authorization", "x-request-id"})
    forged = {"x-envoy-foo", "x-coder-owner", "x-forwarded-host", "via", "forwarded", "cookie"}
    assert forged & headers.keys() <= removed
