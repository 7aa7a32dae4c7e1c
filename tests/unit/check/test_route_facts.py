"""authz.check.route_facts: the facts of a route, the same for every Envoy."""

from authz.check.route_facts import has_actor, removed_headers, route_facts, websocket_paths
from authz.config.settings import DEFAULT_PROVIDERS, Config, Provider
from authz.core.providers import AllowedPath

ANTHROPIC, OPENAI = DEFAULT_PROVIDERS[:2]
PATH = AllowedPath(("POST",), "/v1/x", inference=True)
BASE = {"provider": "anthropic", "base_url": "https://api.anthropic.com/"}


def test_facts() -> None:
    """Each property of a path is a fact, except for usual values."""
    assert route_facts(ANTHROPIC, None) == BASE | {"supported": "false"}
    assert route_facts(ANTHROPIC, PATH) == BASE | {"supported": "true"}
    own = AllowedPath(("GET",), "/x", own_only=True)
    assert route_facts(ANTHROPIC, own) == BASE | {"supported": "own"}
    open_path = AllowedPath(("GET",), "/x", keyless=True, central_key=False)
    more = {"supported": "true", "keyless": "true", "central_key": "false"}
    assert route_facts(ANTHROPIC, open_path) == BASE | more


def test_headers() -> None:
    """The settings and the provider's type say which headers a path adds and removes."""
    off = Config.model_validate({"usage": {"enabled": False}})
    assert removed_headers(ANTHROPIC, Config(), PATH) == ["accept-encoding"]
    assert removed_headers(ANTHROPIC, off, PATH) == []
    assert removed_headers(ANTHROPIC, Config(), AllowedPath(("GET",), "/x")) == []
    aws = {"name": "aws", "type": "bedrock", "base_url": "https://bedrock-mantle.us-east-1.api.aws"}
    assert "x-amz-date" in removed_headers(Provider.model_validate(aws), off, PATH)
    assert not has_actor(Config(), PATH)
    on = Config(send_actor_headers=True)
    assert has_actor(on, PATH)
    assert not has_actor(on, AllowedPath(("GET",), "/x"))


def test_websockets() -> None:
    """A type with WebSockets lists their paths, which are GETs."""
    assert websocket_paths(ANTHROPIC) == []
    assert {path.methods for path in websocket_paths(OPENAI)} == {("GET",)}
