"""authz.check.routes."""

import pytest

from authz.check.ext_authz import read
from authz.check.routes import Routes, UnknownRoute
from authz.config.settings import Config
from authz.core.decision_types import RouteKind
from authz.core.providers import ErrorShape
from tests.support.checks import ANTHROPIC, OPENAI, question

ROUTES = Routes(Config())


def test_a_route_of_a_provider() -> None:
    """The provider's name, type and error format come from the configuration."""
    check = read(question(context={**OPENAI, "central_key": "false", "keyless": "true"}))
    route = ROUTES.find(check)
    assert (route.provider, route.kind) == ("openai", RouteKind.PROVIDER)
    assert (route.supported, route.own_only) == (True, False)
    assert (route.central_key, route.keyless) == (False, True)
    assert route.error_shape == ROUTES.error_shape(check) == ErrorShape.OPENAI


@pytest.mark.parametrize(
    ("context", "kind"),
    [
        ({}, RouteKind.PROVIDER),
        ({"kind": "connect"}, RouteKind.CONNECT),
        ({"kind": "own"}, RouteKind.AUTHZ),
        ({"kind": "provider"}, RouteKind.PROVIDER),
        ({"kind": "x"}, RouteKind.PROVIDER),
    ],
)
def test_a_route_without_a_provider(context: dict[str, str], kind: RouteKind) -> None:
    """A route without a provider is unsupported, and has the kind that it names exactly."""
    check = read(question(context=context))
    route = ROUTES.find(check)
    assert (route.provider, route.type, route.supported, route.kind) == (None, None, False, kind)
    assert route.error_shape == ROUTES.error_shape(check) == ErrorShape.ANY


def test_an_unlisted_path_for_an_own_credential() -> None:
    """The value `own` supports the path for the user's own credential only, with advice."""
    route = ROUTES.find(read(question(context={**ANTHROPIC, "supported": "own"}, path="/a/x")))
    assert (route.supported, route.own_only) == (True, True)
    assert "extra_paths" in route.label


@pytest.mark.parametrize("wrong", [{"provider": "nope"}, {"base_url": OPENAI["base_url"]}])
def test_an_unknown_provider(wrong: dict[str, str]) -> None:
    """A name or base URL that the configuration does not have is an error, in both functions."""
    check = read(question(context={**ANTHROPIC, **wrong}))
    with pytest.raises(UnknownRoute):
        ROUTES.find(check)
    with pytest.raises(UnknownRoute):
        ROUTES.error_shape(check)


def test_facts_about_another_envoy() -> None:
    """The further facts of an external gateway are part of the route."""
    more = {"joined": "true", "removed": "x-a x-b", "websocket": "refused", "actor": "true"}
    route = ROUTES.find(read(question(context={**ANTHROPIC, **more})))
    assert route.joined
    assert route.removed == ("x-a", "x-b")
    assert route.websocket_refused
    assert route.actor
    assert ROUTES.find(read(question(context={"joined": "true"}))).joined
    plain = ROUTES.find(read(question()))
    assert (plain.joined, plain.removed, plain.websocket_refused, plain.actor) == (
        False,
        (),
        False,
        False,
    )


def test_a_route_of_an_envoy_without_the_rules_for_models() -> None:
    """If a provider has rules for models, its route has to say where the model is."""
    rules = {"rules": [{"providers": ["anthropic"], "deny": ["a"]}]}
    ruled = Routes(Config.model_validate({"models": rules}))
    with pytest.raises(UnknownRoute, match="model"):
        ruled.find(read(question(context=ANTHROPIC)))
    assert ruled.find(read(question(context={**ANTHROPIC, "model": "body"}))).supported
    assert ruled.find(read(question(context=OPENAI))).supported


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("anthropic https://api.anthropic.com/", ("anthropic https://api.anthropic.com/",)),
        ("anthropic https://old.example.com/", ()),
        ("gone https://api.anthropic.com/", ()),
        ("anthropic", ()),
        ("", ()),
    ],
)
def test_fallback_providers_of_this_configuration(text: str, found: tuple[str, ...]) -> None:
    """A fallback with a base URL of an older configuration is ignored, and gets no key."""
    route = ROUTES.find(read(question(context={**OPENAI, "retries": "true", "fallbacks": text})))
    assert (route.retries, route.fallbacks) == (True, found)
