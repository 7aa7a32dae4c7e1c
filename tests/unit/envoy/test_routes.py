"""authz.envoy.routes."""

import re
from typing import Any

import pytest
from betterproto2 import Casing
from hypothesis import given
from hypothesis import strategies as st

from authz.config.settings import DEFAULT_PROVIDERS, Config, Provider
from authz.envoy.host_routes import host_routes
from tests.unit.envoy.rendered import chosen, facts, rendered, routes, upstream_path

PREFIXES = ("", "/api/v2/ai-gateway", "/api/v2/aibridge")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The configuration for the defaults."""
    return rendered()


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("method", "path", "cluster", "upstream"),
    [
        ("POST", "/anthropic/v1/messages", "provider_anthropic", "/v1/messages"),
        ("GET", "/anthropic/v1/models/x", "provider_anthropic", "/v1/models/x"),
        ("POST", "/anthropic/api/event_logging/batch", "provider_anthropic", None),
        ("POST", "/openai/v1/chat/completions", "provider_openai", "/v1/chat/completions"),
        ("DELETE", "/openai/v1/responses/r", "provider_openai", "/v1/responses/r"),
        ("POST", "/chatgpt/v1/responses", "provider_chatgpt", "/backend-api/codex/responses"),
        ("OPTIONS", "/copilot/chat/completions", "provider_copilot", "/chat/completions"),
    ],
)
def test_served_paths(
    document: dict[str, Any],
    prefix: str,
    method: str,
    path: str,
    cluster: str,
    upstream: str | None,
) -> None:
    """A listed path goes to its provider's cluster, below the base URL's path."""
    route = chosen(document, method, prefix + path)
    assert route["route"]["cluster"] == cluster
    assert facts(route)["supported"] == "true"
    if upstream is not None:
        assert upstream_path(route, prefix + path) == upstream


@pytest.mark.parametrize("provider", DEFAULT_PROVIDERS, ids=lambda provider: provider.name)
def test_a_route_tells_authz_what_it_leads_to(document: dict[str, Any], provider: Any) -> None:
    """Each route with a provider's cluster names that provider and its base URL, and no other."""
    found = [
        route
        for route in routes(document)
        if route.get("route", {}).get("cluster") == f"provider_{provider.name}"
    ]
    assert found
    for route in found:
        keyless = {"keyless": "true"} if route["name"].endswith(" keyless") else {}
        assert facts(route) == {
            "provider": provider.name,
            "base_url": str(provider.base_url),
            "supported": "true",
            **keyless,
        }
        assert route["route"]["host_rewrite_literal"] == provider.base_url.authority
        assert route["route"]["timeout"] == "0s"


@pytest.mark.parametrize(
    ("method", "path", "provider"),
    [
        ("POST", "/openai/v1/batches", "openai"),
        ("DELETE", "/openai/v1/models/x", "openai"),
        ("HEAD", "/anthropic", "anthropic"),
        ("GET", "/api/v2/aibridge/anthropic/", "anthropic"),
        ("TRACE", "/copilot/models", "copilot"),
        ("GET", "/", None),
        ("GET", "/openaix/v1/models", None),
        ("GET", "/x/openai/v1/models", None),
        ("POST", "/healthz", None),
    ],
)
def test_everything_else_is_a_404_after_authz(
    document: dict[str, Any], method: str, path: str, provider: str | None
) -> None:
    """A path that is not listed is a 404, and authz still checks the token."""
    route = chosen(document, method, path)
    assert route["direct_response"] == {"status": 404}
    assert facts(route).get("provider") == provider
    assert facts(route).get("supported") in (None, "false")
    assert "disabled" not in str(route.get("typed_per_filter_config"))


def test_authz_is_switched_off_for_what_it_serves_itself(document: dict[str, Any]) -> None:
    """Two exact paths, read only, the token API and the page lead to authz without a check."""
    found = [
        route
        for route in routes(document)
        if "'disabled': True" in str(route) and route["name"] not in ("oauth", "Claude Code")
    ]
    *without, escaped, front, page, management, rest = found
    assert escaped["direct_response"] == {"status": 400}
    for route, name in (
        (page, "page"),
        (management, "token API"),
        (rest, "token API"),
    ):
        assert (route["name"], route["route"]["cluster"]) == (name, "authz_http")
    assert front["direct_response"] == {"status": 303}
    assert [route["match"]["path"] for route in without] == ["/healthz", "/readyz"]
    for route in without:
        assert route["route"]["cluster"] == "authz_http"
        assert chosen(document, "GET", route["match"]["path"]) is route
        assert "direct_response" in chosen(document, "POST", route["match"]["path"])


def test_routes_without_a_check_are_slowed_down(document: dict[str, Any]) -> None:
    """Every route that authz does not check delays floods, and no other route does."""
    filters = {"envoy.filters.http.local_ratelimit.anonymous", "envoy.filters.http.fault"}
    check = "envoy.filters.http.ext_authz"
    found = 0
    for route in routes(document):
        settings = route.get("typed_per_filter_config", {})
        if settings.get(check, {}).get("disabled"):
            found += 1
            assert filters <= set(settings)
            assert all(settings[name]["config"] == {} for name in filters)
            # The mark goes to authz no more than to a provider.
            removed = route.get("request_headers_to_remove", [])
            assert "direct_response" in route or removed == ["x-authz-too-many"]
        else:
            assert not filters & set(settings)
    assert found == 17


_segments = st.sampled_from(
    [
        "api",
        "v2",
        "ai-gateway",
        "aibridge",
        "openai",
        "anthropic",
        "copilot",
        "v1",
        "models",
        "messages",
        "responses",
        "chat",
        "completions",
        "files",
        "healthz",
        "..",
        "x",
        "",
    ]
)


@given(
    st.lists(_segments, max_size=7).map(lambda segments: "/" + "/".join(segments)),
    st.sampled_from(["GET", "POST", "DELETE", "HEAD", "PATCH", "BREW"]),
)
def test_every_request_has_a_route(document: dict[str, Any], path: str, method: str) -> None:
    """Every path has a route, and only the provider in its first segment ever serves it."""
    route = chosen(document, method, path)
    if "route" not in route or route["route"]["cluster"] == "authz_http":
        return
    if path in ("/v1/messages", "/v1/messages/count_tokens"):
        # Claude Code's sign-in serves these at the root.
        assert facts(route)["provider"] == "anthropic"
        return
    rest = re.sub(r"^/api/v2/(ai-gateway|aibridge)(?=/)", "", path)
    name = rest.split("/")[1]
    assert route["route"]["cluster"] == f"provider_{name}"
    assert facts(route)["provider"] == name
    assert upstream_path(route, path).startswith("/")


def test_a_providers_name_is_not_a_pattern() -> None:
    """A provider's name is matched literally."""
    document = rendered(
        providers=[{"name": "a-1", "type": "openai-compat", "base_url": "http://127.0.0.1:1/x/v1"}]
    )
    route = chosen(document, "POST", "/a-1/v1/responses")
    assert upstream_path(route, "/a-1/v1/responses") == "/x/v1/responses"
    assert "direct_response" in chosen(document, "POST", "/ab1/v1/responses")


def test_a_websocket_is_refused_before_a_route_to_a_provider(document: dict[str, Any]) -> None:
    """Every path that is served is refused as a WebSocket first, so no other route upgrades one."""
    for provider in DEFAULT_PROVIDERS:
        own = [one for one in routes(document) if one["name"].startswith(f"{provider.name} ")]
        (refusing,) = [one for one in own if one.get("direct_response") == {"status": 426}]
        refused = refusing["match"]["safe_regex"]["regex"]
        served = [one for one in own if one.get("route", {}).get("cluster")]
        for route in served:
            if route["name"].endswith(" WebSocket"):
                continue
            assert own.index(refusing) < own.index(route)
            rest = route["match"]["safe_regex"]["regex"].partition(f"/{provider.name}")[2]
            assert rest.removeprefix("(?:").removesuffix(")") in refused


@pytest.mark.parametrize("name", ["a", "proxy", "ui", "openaix"])
def test_a_branch_is_for_the_whole_segment(name: str) -> None:
    """A provider's name is the whole first segment; a longer word is not the provider."""
    settings = {"type": "openai-compat", "base_url": "http://127.0.0.1:1/v1"}
    proxy = {"ca": {"cert_file": "ca.pem", "key_file": "key.pem"}}
    document = rendered(providers=[{"name": name, **settings}], proxy=proxy)
    for prefix in PREFIXES:
        for path in (f"{prefix}/{name}", f"{prefix}/{name}/", f"{prefix}/{name}/v1/models"):
            assert facts(chosen(document, "GET", path))["provider"] == name
        assert "provider" not in facts(chosen(document, "GET", f"{prefix}/{name}b/v1/models"))
    certificate = chosen(document, "GET", "/api/v2/aibridge/proxy/ca-cert.pem")
    assert certificate["route"]["path_rewrite"] == "/proxy/ca-cert.pem"


TYPES: list[dict[str, Any]] = [
    {"name": "azure", "type": "azure", "base_url": "https://r.openai.azure.com"},
    {"name": "gemini", "type": "gemini", "base_url": "https://generativelanguage.googleapis.com"},
    {"name": "aws", "type": "bedrock", "base_url": "https://bedrock-mantle.us-east-1.api.aws"},
    {
        "name": "google",
        "type": "google",
        "base_url": "https://generativelanguage.googleapis.com/v1beta/openai/",
        "extra_paths": [
            {"path": "/v1/batches", "methods": ["POST"]},
            {"path": "/v1/files/*", "methods": ["GET"], "central_key": True},
        ],
    },
]


@pytest.mark.parametrize(
    ("method", "path", "upstream", "further"),
    [
        ("POST", "/azure/openai/deployments/d/chat/completions", None, {}),
        ("POST", "/gemini/v1beta/models/m:streamGenerateContent", None, {}),
        ("POST", "/aws/v1/messages", "/anthropic/v1/messages", {}),
        ("POST", "/aws/v1/chat/completions", "/v1/chat/completions", {}),
        ("POST", "/aws/openai/v1/responses", "/openai/v1/responses", {}),
        ("POST", "/google/v1/chat/completions", "/v1beta/openai/chat/completions", {}),
        (
            "POST",
            "/google/v1/batches",
            "/v1beta/openai/batches",
            {"central_key": "false"},
        ),
        ("GET", "/google/v1/files/f/content", "/v1beta/openai/files/f/content", {}),
    ],
)
def test_paths_of_other_types(
    method: str, path: str, upstream: str | None, further: dict[str, str]
) -> None:
    """Each path arrives where the provider has it, and its route has the facts for authz."""
    route = chosen(rendered(providers=TYPES), method, path)
    assert upstream_path(route, path) == (upstream or "/" + path.split("/", 2)[2])
    told = {
        key: value for key, value in facts(route).items() if key not in ("provider", "base_url")
    }
    assert told == {"supported": "true", **further}


def test_in_the_proxy_a_path_is_the_providers_own() -> None:
    """In the proxy a client sends Bedrock's full path, and it is not rewritten."""
    settings: dict[str, Any] = {**TYPES[2], "aws": {"region": "us-east-1"}}
    provider = Provider.model_validate(settings)
    found = host_routes([provider], Config())
    served = [route.to_dict(casing=Casing.SNAKE) for route in found if route.route is not None]
    served = [route for route in served if facts(route)["supported"] == "true"]
    patterns = [route["match"]["safe_regex"]["regex"] for route in served]
    for path, is_served in (("/anthropic/v1/messages", True), ("/v1/messages", False)):
        assert any(re.fullmatch(pattern, path) for pattern in patterns) == is_served
    assert not [route for route in served if "regex_rewrite" in route["route"]]


@pytest.mark.parametrize("on", [True, False])
def test_models_are_told_who_asks_if_at_all(on: bool) -> None:
    """Only routes to models send the user's headers, with the values of authz's answer."""
    document = rendered(providers=TYPES, send_actor_headers=on)
    for path, is_model in (
        ("/azure/openai/responses", True),
        ("/gemini/v1/models/m:generateContent", True),
        ("/gemini/v1/models/m:countTokens", False),
        ("/google/v1/batches", False),
    ):
        added = chosen(document, "POST", path).get("request_headers_to_add", [])
        names = {one["header"]["key"]: one["header"]["value"] for one in added}
        wanted = {
            "x-ai-bridge-actor-id": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:user_id)%",
            "x-ai-bridge-actor-metadata-username": (
                "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:user)%"
            ),
        }
        assert names == (wanted if on and is_model else {})
        assert {one["append_action"] for one in added} <= {"OVERWRITE_IF_EXISTS_OR_ADD"}
