"""authz.check.responses."""

import json

import pytest

from authz.check.responses import RETRY_AFTER_SECONDS, error_body, refusal, unavailable
from authz.core.decision_types import Deny
from authz.core.providers import ErrorShape
from authz.core.refusals import REFUSALS, Reason, Refusal


def _deny(status: int) -> Deny:
    kind = Refusal(Reason.BYOK_DISABLED, status, "some_error", "", "some_code")
    return Deny(kind, 'says "no"')


def test_anthropics_shape() -> None:
    """Type, error with type and message, and the request id, which is a header too."""
    answer = refusal(_deny(403), ErrorShape.ANTHROPIC, "id-1")
    assert json.loads(answer.body) == {
        "type": "error",
        "error": {"type": "some_error", "message": 'says "no"'},
        "request_id": "id-1",
    }
    assert answer.status == 403
    assert answer.headers == (("content-type", "application/json"), ("request-id", "id-1"))


def test_openais_shape() -> None:
    """An error with exactly four fields, and the request id in OpenAI's header."""
    answer = refusal(_deny(404), ErrorShape.OPENAI, "id-1")
    assert json.loads(answer.body) == {
        "error": {
            "message": 'says "no"',
            "type": "some_error",
            "param": None,
            "code": "some_code",
        }
    }
    assert answer.headers == (("content-type", "application/json"), ("x-request-id", "id-1"))


@pytest.mark.parametrize(
    ("error_type", "code", "status"),
    [
        ("invalid_request_error", 400, "INVALID_ARGUMENT"),
        ("authentication_error", 401, "UNAUTHENTICATED"),
        ("permission_error", 403, "PERMISSION_DENIED"),
        ("not_found_error", 404, "NOT_FOUND"),
        ("api_error", 503, "UNAVAILABLE"),
        ("of another kind", 500, "INTERNAL"),
    ],
)
def test_googles_shape(error_type: str, code: int, status: str) -> None:
    """An error with the three fields of google.rpc.Status."""
    body = error_body(ErrorShape.GOOGLE, error_type, "c", "m", "id-1")
    assert body == {"error": {"code": code, "message": "m", "status": status}}
    headers = dict(refusal(_deny(code), ErrorShape.GOOGLE, "id-1").headers)
    assert headers["x-request-id"] == "id-1"


def test_a_shape_for_both() -> None:
    """Without a known provider, the body has the fields that either SDK reads."""
    both = error_body(ErrorShape.ANY, "t", "c", "m", "id-1")
    for shape in (ErrorShape.ANTHROPIC, ErrorShape.OPENAI):
        for key, value in error_body(shape, "t", "c", "m", "id-1").items():
            found = both[key]
            if isinstance(value, dict):
                assert isinstance(found, dict)
                assert found.items() >= value.items()
            else:
                assert found == value


@pytest.mark.parametrize("shape", list(ErrorShape))
@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_only_a_401_challenges(shape: ErrorShape, status: int) -> None:
    """Only a 401 has a Bearer challenge and tells the client not to retry."""
    headers = dict(refusal(_deny(status), shape, "").headers)
    challenge = {"www-authenticate": "Bearer", "x-should-retry": "false"}
    assert (headers.items() >= challenge.items()) == (status == 401)
    assert ("www-authenticate" in headers) == (status == 401)


@pytest.mark.parametrize("shape", list(ErrorShape))
def test_unavailable(shape: ErrorShape) -> None:
    """A 503 has Retry-After and no challenge."""
    answer = unavailable(REFUSALS[Reason.OVERLOADED], shape, "id-1")
    assert answer.status == 503
    assert dict(answer.headers)["retry-after"] == str(RETRY_AFTER_SECONDS)
    assert "www-authenticate" not in dict(answer.headers)
    error = json.loads(answer.body)["error"]
    assert error.get("type", error.get("status")) in ("api_error", "UNAVAILABLE")
    assert error.get("code", "overloaded") in ("overloaded", 503)
