"""authz.envoy.host_routes: what clients of the proxy reach on a provider's own host."""

from typing import Any

import pytest

from tests.unit.certificates import rendering
from tests.unit.envoy.rendered import facts, first, upstream_path

GOOGLE = "generativelanguage.googleapis.com"
KEY: dict[str, Any] = {"key": {"env": "A_KEY"}}
TWO_ON_ONE_HOST = [
    {"name": "google", "type": "google", "base_url": f"https://{GOOGLE}/v1beta/openai/", **KEY},
    {"name": "gemini", "type": "gemini", "base_url": f"https://{GOOGLE}", **KEY},
]
CHATGPT = {"name": "chatgpt", "type": "openai", "base_url": "https://chatgpt.com/backend-api/codex"}


def _routes(host: str, *providers: dict[str, Any], **values: Any) -> list[dict[str, Any]]:
    document = rendering.document(proxy={}, providers=list(providers), **values)
    listeners = document["static_resources"]["listeners"]
    (listener,) = [one for one in listeners if one["name"] == f"intercept_{host}"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    found: list[dict[str, Any]] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return found


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("method", "path", "provider"),
    [
        ("POST", "/v1beta/openai/chat/completions", "google"),
        ("GET", "/v1beta/openai/models", "google"),
        ("POST", "/v1beta/models/m:generateContent", "gemini"),
        ("GET", "/v1beta/models", "gemini"),
    ],
)
def test_two_providers_on_one_host(method: str, path: str, provider: str, reverse: bool) -> None:
    """Each provider has its own paths, whatever their order in the file."""
    providers = TWO_ON_ONE_HOST[::-1] if reverse else TWO_ON_ONE_HOST
    route = first(_routes(GOOGLE, *providers), method, path)
    assert route["route"]["cluster"] == f"provider_{provider}"
    assert facts(route)["provider"] == provider


@pytest.mark.parametrize(
    ("path", "provider"),
    [
        ("/v1beta/openai/files", "google"),
        ("/v1beta/files", "gemini"),
        ("/", "gemini"),
        ("/upload/v1beta/files", "gemini"),
    ],
)
def test_the_rest_of_a_host_with_a_central_key(path: str, provider: str) -> None:
    """Other paths are for the own credential of the provider whose path they are below."""
    route = first(_routes(GOOGLE, *TWO_ON_ONE_HOST), "GET", path)
    assert route["route"]["cluster"] == f"provider_{provider}"
    told = facts(route)
    assert told["provider"] == provider
    assert (told["supported"], told["central_key"]) == ("own", "false")


@pytest.mark.parametrize("path", ["/x/../v1beta", "/v1beta/x%2Fy", "/v1beta/x%5cy", "/a%252fb"])
def test_climbing_on_a_host_with_a_central_key(path: str) -> None:
    """A path that could climb is a 404 for everyone, and authz still checks the token."""
    route = first(_routes(GOOGLE, *TWO_ON_ONE_HOST), "GET", path)
    assert route["direct_response"] == {"status": 404}
    assert facts(route)["supported"] == "false"


@pytest.mark.parametrize(
    "key",
    [{"keys": [{"env": "A_KEY"}, {"env": "B_KEY"}]}, {"key": {"env": "A_KEY"}}],
    ids=["pool", "key"],
)
def test_no_central_key_reaches_the_rest(key: dict[str, Any]) -> None:
    """Central keys count for the listed paths only."""
    compat = {**CHATGPT, "type": "openai-compat", **key}
    route = first(_routes("chatgpt.com", compat), "GET", "/backend-api/wham/x")
    assert facts(route)["supported"] == "own"
    assert facts(route)["central_key"] == "false"
    listed = first(_routes("chatgpt.com", compat), "GET", "/backend-api/codex/models")
    assert facts(listed)["supported"] == "true"


@pytest.mark.parametrize(
    "beside", [[], [CHATGPT | {"name": "beside", "base_url": "https://chatgpt.com/other"}]]
)
def test_host_that_checks_no_credential(beside: list[dict[str, Any]]) -> None:
    """If a provider takes no credential, own ones are not checked, so the rest is a 404."""
    local = {**CHATGPT, "type": "openai-compat", "key": "none"}
    routes = _routes("chatgpt.com", local, *beside)
    route = first(routes, "GET", "/backend-api/wham/x")
    assert route["direct_response"] == {"status": 404}
    assert facts(route)["supported"] == "false"
    assert facts(first(routes, "GET", "/backend-api/codex/models"))["supported"] == "true"


def test_one_central_key_counts_for_the_host() -> None:
    """If any provider has a key, other paths of the host need an own credential."""
    keyless = {key: value for key, value in TWO_ON_ONE_HOST[0].items() if key != "key"}
    found = _routes(GOOGLE, keyless, TWO_ON_ONE_HOST[1])
    for path in ("/v1beta/openai/files", "/v1beta/files"):
        assert facts(first(found, "GET", path))["supported"] == "own"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/backend-api/wham/accounts/check"),
        ("POST", "/backend-api/ps/mcp"),
        ("POST", "/backend-api/codex/analytics-events/events"),
        ("GET", "/"),
    ],
)
def test_a_host_without_a_central_key(method: str, path: str) -> None:
    """Every path passes unchanged, and the route says that no central key may be used."""
    route = first(_routes("chatgpt.com", CHATGPT), method, path)
    assert route["route"]["cluster"] == "provider_chatgpt"
    assert "regex_rewrite" not in route["route"]
    assert facts(route) == {
        "provider": "chatgpt",
        "base_url": CHATGPT["base_url"],
        "supported": "true",
        "central_key": "false",
    }


@pytest.mark.parametrize("path", ["/backend-api/x..y", "/backend-api/%252e%252e/x", "/a/..%25/b"])
def test_climbing(path: str) -> None:
    """A path that a server behind Envoy could read as climbing is not served there either."""
    assert "direct_response" in first(_routes("chatgpt.com", CHATGPT), "GET", path)


@pytest.mark.parametrize("method", ["TRACE", "BREW"])
def test_methods(method: str) -> None:
    """Methods that no API uses are not served."""
    route = first(_routes("chatgpt.com", CHATGPT), method, "/backend-api/x")
    assert "direct_response" in route


@pytest.mark.parametrize(
    ("base_url", "outside"),
    [
        ("http://127.0.0.1:9/mirror/backend-api/codex", "/mirror/backend-api/wham/x"),
        ("http://127.0.0.1:9/codex", None),
    ],
)
def test_a_mirror(base_url: str, outside: str | None) -> None:
    """A mirror is asked for the rest of the host only where its own path ends as the host's."""
    mirror = {**CHATGPT, "base_url": base_url, "public_url": CHATGPT["base_url"]}
    found = _routes("chatgpt.com", mirror)
    inside = first(found, "GET", "/backend-api/codex/x")
    assert upstream_path(inside, "/backend-api/codex/x").endswith("/codex/x")
    route = first(found, "GET", "/backend-api/wham/x")
    if outside is None:
        assert "direct_response" in route
    else:
        assert upstream_path(route, "/backend-api/wham/x") == outside


@pytest.mark.parametrize("path", ["/backend-api/codex/analytics", "/backend-api/wham/x"])
def test_other_websockets(path: str) -> None:
    """A WebSocket is refused at once on a path that the type does not list."""
    found = _routes("chatgpt.com", CHATGPT)
    (route,) = [one for one in found if one["match"].get("safe_regex") == {"regex": "/.*"}][:1]
    assert route["match"]["headers"][0]["name"] == "upgrade"
    assert route["direct_response"] == {"status": 426}


@pytest.mark.parametrize(
    ("method", "path", "place"),
    [
        ("POST", "/backend-api/codex/responses", "body"),
        ("POST", "/backend-api/settings", "unknown"),
        ("GET", "/backend-api/settings", "none"),
    ],
)
def test_rules_for_models_on_a_host(method: str, path: str, place: str) -> None:
    """Rules also apply to a provider's own host, and refuse paths that its type does not list."""
    models = {"rules": [{"deny": ["a"]}]}
    route = first(_routes("chatgpt.com", CHATGPT, models=models), method, path)
    assert facts(route)["model"] == place
