"""authz.oauth.server_metadata: the origin that clients are told."""

import pytest
from starlette.requests import Request

from authz.oauth.server_metadata import request_origin


def _origin(host: str, *, is_https: bool) -> str | None:
    scope = {
        "type": "http",
        "scheme": "http",
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", host.encode()), (b"x-forwarded-proto", b"https")],
    }
    return request_origin(Request(scope), is_https=is_https)


@pytest.mark.parametrize(
    ("host", "is_https", "origin"),
    [
        ("gateway.test", False, "http://gateway.test"),
        ("gateway.test", True, "https://gateway.test"),
        ("gateway.test:8443", True, "https://gateway.test:8443"),
        ("10.0.0.1", True, "https://10.0.0.1"),
        ("[2001:db8::1]:8443", True, "https://[2001:db8::1]:8443"),
        ("127.0.0.1:8080", True, "http://127.0.0.1:8080"),
        ("LocalHost:8080", True, "http://LocalHost:8080"),
        ("[::1]:8080", True, "http://[::1]:8080"),
        ("[::1]", True, "http://[::1]"),
        ("[x]:1", True, None),
        ("gateway.test/x", True, None),
        ("", True, None),
    ],
)
def test_behind_a_balancer(host: str, is_https: bool, origin: str | None) -> None:
    """If clients use TLS, only this machine is told http://; no client header is considered."""
    assert _origin(host, is_https=is_https) == origin
