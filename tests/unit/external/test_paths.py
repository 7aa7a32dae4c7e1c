"""authz.external.paths: which paths of an external gateway may have the central key."""

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config.settings import DEFAULT_PROVIDERS, Provider
from authz.external.paths import MAX_PATH, below, is_listed, is_safe, listed, listed_websocket

PROVIDERS = {provider.name: provider for provider in DEFAULT_PROVIDERS}
ANTHROPIC, OPENAI = PROVIDERS["anthropic"], PROVIDERS["openai"]

CLIMBING = [
    "/v1/responses/../files",
    "/v1/responses/..",
    "/v1/responses/./x",
    "/v1/responses/.",
    "/v1/responses/.x",
    "/v1/responses//x",
    "//v1/responses/x",
    "/v1/responses/%2e%2e/files",
    "/v1/responses/%2E./files",
    "/v1/responses/.%2e/files",
    "/v1/responses/%252e%252e/files",
    "/v1/responses/%25",
    "/v1/responses/%2ffiles",
    "/v1/responses/%2Ffiles",
    "/v1/responses/%5c..%5cfiles",
    "/v1/responses/%5Cfiles",
    "/v1/responses/\\files",
    "/v1/responses/..;/files",
    "/v1/responses/x;a=b",
    "/v1/responses/x%3Ba",
    "/v1/responses/x%3fa",
    "/v1/responses/x#files",
    "/v1/responses/x%23files",
    "/v1/responses/%00",
    "/v1/responses/x%00.txt",
    "/v1/responses/%0d%0ax",
    "/v1/responses/x%7f",
    "/v1/responses/%c0%ae%c0%ae/files",
    "/v1/responses/%e0%80%ae/files",
    "/v1/responses/%f0%80%80%ae/files",
    "/v1/responses/%ef%bc%8ffiles",
    "/v1/responses/%u002e",
    "/v1/responses/%2",
    "/v1/responses/%",
    "/v1/responses/%zz",
    "/v1/responses/a b",
    "/v1/responses/a\tb",
    "/v1/responses/a\nb",
    "/v1/responses/caf\u00e9",
    "/v1/responses/\uff0ffiles",
    "/v1/responses/caf!",
]


@pytest.mark.parametrize("path", CLIMBING)
def test_climbing_paths(path: str) -> None:
    """A path that some server could take for another one is not safe."""
    assert not is_safe(path)


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/models/a.b-c_d~e", "/v1/x:y@z", "/v1/%41%20", "/v1/", "/"]
)
def test_safe_paths(path: str) -> None:
    """A path with one reading is safe."""
    assert is_safe(path)


def test_a_very_long_path() -> None:
    """The patterns never read more than a bounded text."""
    assert is_safe("/" + "a" * (MAX_PATH - 1))
    assert not is_safe("/" + "a" * MAX_PATH)


@given(st.text("/.%25eEfF;\\a0\x00\u00e9", max_size=12).map(lambda text: f"/v1/{text}"))
def test_a_safe_path_stays_where_it_is(path: str) -> None:
    """A safe path gets no new separators, however often a server decodes it."""
    if not is_safe(path):
        return
    decoded = path
    for _ in range(3):
        decoded = unquote(decoded)
        assert decoded.count("/") == path.count("/")
        assert not re.search(r"\.\.|//|/\.|[\\;?#\x00-\x1f\x7f-\U0010ffff]", decoded)


@pytest.mark.parametrize(
    ("path", "prefix", "rest"),
    [
        ("/anthropic/v1/messages", "/anthropic", "/v1/messages"),
        ("/v1/messages", "", "/v1/messages"),
        ("/anthropic", "/anthropic", None),
        ("/anthropic/", "/anthropic", "/"),
        ("/anthropics/v1", "/anthropic", None),
        ("/Anthropic/v1", "/anthropic", None),
        ("/%61nthropic/v1", "/anthropic", None),
        ("//anthropic/v1", "/anthropic", None),
        ("http://gw/anthropic/v1", "/anthropic", None),
        ("http://gw/v1/messages", "", None),
        ("*", "", None),
        ("", "", None),
        ("", "/anthropic", None),
    ],
)
def test_below(path: str, prefix: str, rest: str | None) -> None:
    """A path is below a prefix only in the prefix's own spelling, from its first character on."""
    assert below(path, prefix) == rest


@pytest.mark.parametrize(
    ("provider", "method", "rest", "is_served"),
    [
        (ANTHROPIC, "POST", "/v1/messages", True),
        (ANTHROPIC, "GET", "/v1/models/claude", True),
        (ANTHROPIC, "GET", "/v1/messages", False),
        (ANTHROPIC, "post", "/v1/messages", False),
        (ANTHROPIC, "Post", "/v1/messages", False),
        (ANTHROPIC, "", "/v1/messages", False),
        (ANTHROPIC, "POST ", "/v1/messages", False),
        (ANTHROPIC, "CONNECT", "/v1/messages", False),
        (ANTHROPIC, "POST", "/v1/messages/", False),
        (ANTHROPIC, "POST", "/v1/Messages", False),
        (ANTHROPIC, "POST", "/v1/messages\n", False),
        (ANTHROPIC, "POST", "/x/v1/messages", False),
        (ANTHROPIC, "DELETE", "/v1/models/claude", False),
        (ANTHROPIC, "DELETE", "/v1/organizations/users/1", False),
        (OPENAI, "GET", "/v1/files", False),
        (OPENAI, "DELETE", "/v1/responses/r", True),
    ],
)
def test_listed(provider: Provider, method: str, rest: str, is_served: bool) -> None:
    """A request is listed only with the exact path and method of the provider's list."""
    assert (listed(provider, method, rest) is not None) is is_served


def test_the_list_is_that_of_the_provider() -> None:
    """Paths that gateway.yaml adds are listed, too, and keep their limits."""
    extra = {"path": "/v1/batches", "methods": ["GET"]}
    provider = Provider.model_validate(ANTHROPIC.model_dump(mode="json") | {"extra_paths": [extra]})
    assert listed(ANTHROPIC, "GET", "/v1/batches") is None
    found = listed(provider, "GET", "/v1/batches")
    assert found is not None
    assert not found.central_key


def test_websockets() -> None:
    """A WebSocket is served where the provider has one, and refused on its other paths."""
    assert listed_websocket(OPENAI, "GET", "/v1/realtime") is not None
    assert listed_websocket(OPENAI, "POST", "/v1/realtime") is None
    assert listed_websocket(OPENAI, "GET", "/v1/chat/completions") is None
    assert listed_websocket(ANTHROPIC, "GET", "/v1/messages") is None
    off = OPENAI.model_copy(update={"websocket": False})
    assert listed_websocket(off, "GET", "/v1/realtime") is None
    assert is_listed(off, "/v1/realtime")
    assert is_listed(ANTHROPIC, "/v1/messages")
    assert not is_listed(ANTHROPIC, "/v1/files")
