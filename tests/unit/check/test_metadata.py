"""authz.check.metadata."""

from urllib.parse import quote

import pytest

from authz.check.ext_authz import Check
from authz.check.metadata import label_of, place_of, request_id_of
from authz.pb import ext_authz_pb2 as pb


def _check(method: str, path: str, request_id: str = "") -> Check:
    header = pb.HeaderValue(key="x-request-id", raw_value=request_id.encode())
    return Check(method, path, [header.SerializeToString()], ())


def test_what_a_client_chose_is_printable() -> None:
    """Method, path and request id have no control character and are bounded."""
    check = _check("GE\x1bT" * 50, "/v1/%1B%5B2J%0Aforged" + "x" * 900, "a\x1b\n" * 100)
    for text in (label_of(check), place_of(check), request_id_of(check)):
        assert text.isprintable()
        assert len(text) < 300


@pytest.mark.parametrize("times", [0, 1, 2, 3, 5, 8, 9, 20])
@pytest.mark.parametrize("escaped", ["-", "Gu9tD1UYB2-IT8q5qdHwnDS7KuRoVmVW8", "8"])
def test_a_token_is_masked_however_often_it_is_escaped(times: int, escaped: str) -> None:
    """A token's secret is not in the place, however often it was escaped."""
    token = "Gu9tD1UYB2-IT8q5qdHwnDS7KuRoVmVW8"
    spelled = escaped
    for _ in range(times):
        spelled = (
            "".join(f"%{ord(letter):02x}" for letter in spelled)
            if len(spelled) < 4
            else (quote(spelled.replace("-", "%2d"), safe=""))
        )
    place = place_of(_check("GET", f"/v1/models/{token.replace(escaped, spelled)}"))
    assert token.partition("-")[2] not in place
    assert "IT8q5qdHwn" not in place


def test_an_escaped_name_is_shown() -> None:
    """A path without a token is shown decoded once, with the escapes that are left."""
    assert place_of(_check("GET", "/v1/models/a%252Fb")) == "/v1/models/a%2Fb"


def test_a_long_escaped_path_takes_no_time() -> None:
    """A path that is longer than any real one and has an escape is not decoded."""
    assert place_of(_check("GET", "/" + "%25" * 20_000)) == "[escaped]"
