"""authz.envoy.request_models: where the filters are, and where they are on."""

from typing import Any

import pytest

from authz.envoy.request_models import BODY_MODEL, BODY_SIZE, PATH_MODEL
from tests.unit.envoy.rendered import chosen, facts, http_filter, manager, rendered, routes

_GEMINI = {"name": "gemini", "type": "gemini", "base_url": "https://gemini.test"}
_OPENAI = {
    "name": "openai",
    "type": "openai",
    "base_url": "https://openai.test/v1",
    "extra_paths": [
        {"path": "/v1/batches", "methods": ["GET", "POST"]},
        {"path": "/v1/own", "methods": ["POST"], "model": "body"},
        {"path": "/v1/ping", "methods": ["POST"], "model": "none"},
    ],
}
_ANTHROPIC = {"name": "anthropic", "type": "anthropic", "base_url": "https://anthropic.test"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """A configuration with rules for two of three providers."""
    rules = [{"providers": ["gemini", "openai"], "deny": ["a"]}]
    return rendered(providers=[_GEMINI, _OPENAI, _ANTHROPIC], models={"rules": rules})


@pytest.mark.parametrize(
    ("method", "path", "place"),
    [
        ("POST", "/openai/v1/chat/completions", "body"),
        ("POST", "/openai/v1/responses", "body"),
        ("POST", "/openai/v1/images/edits", "unknown"),
        ("POST", "/openai/v1/responses/r/cancel", "optional"),
        ("DELETE", "/openai/v1/responses/r", "none"),
        ("GET", "/openai/v1/models", "none"),
        ("GET", "/openai/v1/batches", "none"),
        ("POST", "/openai/v1/batches", "unknown"),
        ("POST", "/openai/v1/own", "body"),
        ("POST", "/openai/v1/ping", "none"),
        ("POST", "/gemini/v1beta/models/m:generateContent", "path"),
        ("POST", "/gemini/v1beta/models/m:countTokens", "path"),
        ("GET", "/gemini/v1beta/models/m", "none"),
        ("POST", "/anthropic/v1/messages", None),
    ],
)
def test_each_route_says_where_the_model_is(
    document: dict[str, Any], method: str, path: str, place: str | None
) -> None:
    """The filters are on exactly where they have something to read."""
    route = chosen(document, method, path)
    assert facts(route).get("model") == place
    settings = route["typed_per_filter_config"]
    reads_body = place in ("body", "optional")
    assert (BODY_MODEL in settings, BODY_SIZE in settings) == (reads_body, reads_body)
    assert (PATH_MODEL in settings) is (place == "path")


def test_a_provider_without_rules_keeps_its_routes(document: dict[str, Any]) -> None:
    """A provider without rules has the same routes as in a configuration without rules."""
    plain = rendered(providers=[_GEMINI, _OPENAI, _ANTHROPIC])

    def of_anthropic(found: dict[str, Any]) -> list[dict[str, Any]]:
        return [one for one in routes(found) if one.get("name", "").startswith("anthropic")]

    assert of_anthropic(document) == of_anthropic(plain)
    names = [one["name"] for one in manager(plain)["http_filters"]]
    assert not {BODY_MODEL, BODY_SIZE, PATH_MODEL} & set(names)
    assert "typed_metadata_context_namespaces" not in http_filter(plain, "ext_authz")


def test_the_filters_are_off_and_in_front_of_the_check(document: dict[str, Any]) -> None:
    """The filters run after the early refusals and before the check."""
    filters = manager(document)["http_filters"]
    names = [one["name"] for one in filters]
    check = names.index("envoy.filters.http.ext_authz")
    assert names[check - 3 : check] == [BODY_SIZE, BODY_MODEL, PATH_MODEL]
    assert all(one["disabled"] for one in filters[check - 3 : check])


def test_there_is_no_web_socket_with_rules(document: dict[str, Any]) -> None:
    """With rules all WebSockets are refused with a 426, because Envoy reads no frames."""
    names = [one.get("name", "") for one in routes(document)]
    assert "openai WebSocket" not in names
    assert "openai no WebSocket" in names
