"""authz.envoy.page_routes: the paths of the gateway listener that belong to the page."""

import re
from typing import Any

import pytest

from authz.envoy.page_routes import page_routes
from authz.web.pages.app import _PAGES
from tests.unit.envoy.rendered import chosen, facts, rendered


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The configuration for the defaults."""
    return rendered()


def test_every_place_is_routed_and_nothing_else(document: dict[str, Any]) -> None:
    """All paths below the page's go to authz without a check; other paths are unaffected."""
    for place in _PAGES:
        path = re.sub(r"{\w+}", "x", f"/ui{place.path}")
        route = chosen(document, "POST", path)
        assert route["name"] == "page", path
        assert route["route"]["cluster"] == "authz_http"
    for path in ("/ui", "/ui/", "/ui/static/page.css", "/ui/nope", "/ui/a/b/c/d/e/f/", "/ui//"):
        for method in ("GET", "PUT", "OPTIONS"):
            assert chosen(document, method, path)["name"] == "page", path
    for path in ("/users", "/account/tokens", "/uix", "/metrics", "/UI/"):
        assert chosen(document, "GET", path)["name"] == "unknown", path


def test_a_provider_of_that_name_wins() -> None:
    """A provider named ui keeps its paths: no name is reserved for the page."""
    base = {"name": "ui", "type": "anthropic", "base_url": "https://api.anthropic.com"}
    document = rendered(providers=[base])
    route = chosen(document, "POST", "/ui/v1/messages")
    assert facts(route)["provider"] == "ui"


def test_the_front_is_for_browsers() -> None:
    """Only a GET or HEAD of / that asks for HTML is sent on; the check handles all others."""
    [front, _] = page_routes()
    assert front.match is not None
    assert front.match.path == "/"
    assert [matcher.name for matcher in front.match.headers] == [":method", "accept"]
