"""authz.check.metadata."""

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
