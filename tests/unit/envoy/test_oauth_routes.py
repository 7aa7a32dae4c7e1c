"""authz.envoy.oauth_routes: the token endpoint is reachable where a grant is switched on."""

from typing import Any

from tests.unit.envoy.rendered import chosen, rendered

PATHS = ("/oauth/token", "/.well-known/oauth-authorization-server")
MACHINES: dict[str, Any] = {
    "issuers": [{"issuer": "https://issuer.test", "audience": "https://gateway.test"}],
    "rules": [
        {
            "name": "ci",
            "issuer": "https://issuer.test",
            "service_account": "ci",
            "claims": {"sub": "ci"},
        }
    ],
}


def test_without_a_grant() -> None:
    """Without a grant the paths are unknown ones."""
    document = rendered()
    for path in PATHS:
        assert chosen(document, "POST", path)["name"] == "unknown"


def test_with_a_grant() -> None:
    """The exact paths go to authz without a check, and no others."""
    document = rendered(sign_in={"machines": MACHINES})
    for path in PATHS:
        route = chosen(document, "POST", path)
        assert route["name"] == "oauth"
        assert route["route"]["cluster"] == "authz_http"
    for path in (
        "/oauth/token/",
        "/oauth/tokens",
        "/oauth",
        "/xwell-known/oauth",
        "/x/oauth/token",
    ):
        assert chosen(document, "POST", path)["name"] == "unknown", path
