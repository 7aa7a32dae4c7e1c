"""authz.external.binding: which provider a route of another Envoy leads to."""

from collections.abc import Mapping

import pytest

from authz.check.ext_authz import BadCheck
from authz.check.readers import UnboundCheck
from authz.external.binding import Bindings, Destination
from authz.external.causes import Cause, CauseLog
from authz.secret import Secret
from tests.support.external_checks import ANTHROPIC, OPENAI, SECRET, external_config, resources

CONFIG = external_config()
BINDINGS = Bindings(CONFIG, Secret(SECRET), CauseLog())
PATH = "/anthropic/v1/messages"
CONTEXT = {"provider": "anthropic", "path": "/anthropic", "secret": SECRET}
URL = "https://api.anthropic.com/"


def find(
    context: Mapping[str, str] = {},
    metadata: bytes = b"",
    host: str = "gw.example",
    path: str = PATH,
    *,
    raw: bool = False,
    bindings: Bindings = BINDINGS,
) -> tuple[str, str] | str | None:
    """Return the provider's name and the rest of the path, or the name of the cause."""
    try:
        found: Destination | None = bindings.find(context, metadata, host, path, raw=raw)
    except UnboundCheck as error:
        return str(error)
    return None if found is None else (found.provider.name, found.rest)


FOUND = ("anthropic", "/v1/messages")


@pytest.mark.parametrize("raw", [False, True])
def test_by_httproute(raw: bool) -> None:
    """The metadata of Envoy Gateway name the HTTPRoute, which gateway.yaml binds to a provider."""
    assert find(metadata=resources(ANTHROPIC), raw=raw) == FOUND
    assert find(metadata=resources(OPENAI), path="/llm/openai/v1/models", raw=raw) == (
        "openai",
        "/v1/models",
    )
    assert find(metadata=resources(OPENAI), raw=raw) is None


@pytest.mark.parametrize(
    "metadata",
    [
        resources("other/anthropic"),
        resources("ai/anthropic2"),
        resources("AI/anthropic"),
        resources("ai/Anthropic"),
    ],
    ids=range(4),  # the bytes of a map are in random order
)
def test_an_unknown_httproute(metadata: bytes) -> None:
    """An HTTPRoute that gateway.yaml does not name is refused, whatever else the check says."""
    for context in ({}, CONTEXT, {"provider": "anthropic"}):
        for host in ("gw.example", "llm.example.com"):
            assert find(context, metadata, host) == Cause.UNKNOWN_HTTPROUTE.name


@pytest.mark.parametrize(
    "metadata",
    [
        resources(),
        resources(ANTHROPIC, "other/evil"),
        resources(ANTHROPIC, ANTHROPIC),
        resources(ANTHROPIC, kind="GRPCRoute"),
        resources(ANTHROPIC, kind=""),
        resources("/anthropic"),
        resources("ai/"),
    ],
    ids=range(7),
)
def test_unclear_metadata(metadata: bytes) -> None:
    """Metadata that don't name exactly one HTTPRoute are refused."""
    for context in ({}, CONTEXT):
        assert find(context, metadata, "llm.example.com") == Cause.BAD_METADATA.name


def test_unreadable_metadata() -> None:
    """Metadata that are not protobuf are refused as unreadable."""
    with pytest.raises(BadCheck):
        find(metadata=b"\xff\xff")


@pytest.mark.parametrize("raw", [False, True])
def test_by_context(raw: bool) -> None:
    """A route with the secret may name its provider and its prefix."""
    assert find(CONTEXT, raw=raw) == FOUND
    assert find(CONTEXT, path="/other", raw=raw) is None
    assert find(CONTEXT | {"path": "/"}, path="/v1/messages", raw=raw) == FOUND


@pytest.mark.parametrize(
    "context",
    [
        {"provider": "anthropic"},
        {"provider": "anthropic", "path": "/anthropic"},
        {"path": "/anthropic"},
        CONTEXT | {"secret": ""},
        CONTEXT | {"secret": SECRET[:-1]},
        CONTEXT | {"secret": SECRET + "0"},
        CONTEXT | {"secret": SECRET.upper()},
        CONTEXT | {"secret": "\u00e9" * 36},
    ],
)
def test_without_the_secret(context: Mapping[str, str]) -> None:
    """Without the exact secret, no context names a provider, and no host is a way around that."""
    assert find(context, host="llm.example.com") == Cause.UNPROVEN.name
    off = Bindings(CONFIG, None, CauseLog())
    assert find(CONTEXT, bindings=off) == Cause.UNPROVEN.name


@pytest.mark.parametrize(
    "change",
    [
        {"provider": ""},
        {"provider": "nope"},
        {"path": ""},
        {"path": "anthropic"},
        {"path": "/anthropic/"},
        {"path": "/a/../b"},
        {"path": "//"},
    ],
)
def test_a_bad_context(change: Mapping[str, str]) -> None:
    """With the secret, the context has to name a known provider and a literal path."""
    assert find({**CONTEXT, **change}) == Cause.BAD_CONTEXT.name
    for missing in ("provider", "path"):
        context = {key: value for key, value in CONTEXT.items() if key != missing}
        assert find(context) == Cause.BAD_CONTEXT.name


def test_a_signed_provider_in_the_context() -> None:
    """No route may name a provider whose requests only our own Envoy can sign."""
    aws = {
        "name": "aws",
        "type": "bedrock",
        "base_url": "https://bedrock-mantle.us-east-1.api.aws",
        "aws": {"region": "us-east-1"},
    }
    config = external_config(
        providers=[*CONFIG.model_dump(mode="json", exclude_none=True)["providers"], aws]
    )
    bindings = Bindings(config, Secret(SECRET), CauseLog())
    assert find(CONTEXT | {"provider": "aws"}, bindings=bindings) == Cause.BAD_CONTEXT.name


def test_by_host() -> None:
    """A gateway that says nothing about its routes is bound by host and path."""
    for host in ("llm.example.com", "LLM.example.COM", "llm.example.com:8443"):
        assert find(host=host, path="/openai/v1/models") == ("openai", "/v1/models")
        assert find(host=host, path="/anthropic/v1/messages") is None
    assert find(host="anthropic.example.com", path="/v1/messages") == FOUND


@pytest.mark.parametrize(
    "host",
    [
        "",
        "gw.example",
        "llm.example.com.",
        "llm.example.com:",
        "llm.example.com:x",
        "llm.example.com:8443:1",
        "user@llm.example.com",
        "llm.example.com@evil.test",
        "llm.example.com/openai",
        "llm.example.com\t",
        " llm.example.com",
        "x.llm.example.com",
        "llm.e\u212aample.com",
        "llm.example.c\u00f3m",
        "[::1]",
        "llm.example.com,gw.example",
    ],
)
def test_other_hosts(host: str) -> None:
    """Another spelling of a host is another host, and has no binding."""
    assert find(host=host, path="/openai/v1/models") == Cause.NO_BINDING.name


def test_no_host_for_a_gateway_with_a_context() -> None:
    """A gateway that sends context_extensions could send the route, so its hosts prove nothing."""
    assert find({"x": "y"}, host="llm.example.com") == Cause.NO_BINDING.name


def test_raw_headers_without_a_binding() -> None:
    """Raw headers alone don't make an Envoy the project's own; hosts don't bind them either."""
    own = {"provider": "anthropic", "base_url": URL, "supported": "true"}
    for context in (own, {}, {"kind": "connect"}, {"kind": "own"}, own | {"routes": "guessed"}):
        assert find(context, host="llm.example.com", raw=True) == Cause.NO_MARK.name


@pytest.mark.parametrize(
    "claim",
    [
        {"kind": "own"},
        {"kind": "connect"},
        {"kind": ""},
        {"supported": "own"},
        {"supported": "false"},
        {"central_key": "false"},
    ],
)
@pytest.mark.parametrize("raw", [False, True])
def test_claims(claim: Mapping[str, str], raw: bool) -> None:
    """Facts that authz would have to ignore are refused, so that no restriction is lost."""
    assert find({**CONTEXT, **claim}, raw=raw) == Cause.CLAIM.name
    assert find(claim, resources(ANTHROPIC), raw=raw) == Cause.CLAIM.name


def test_harmless_claims() -> None:
    """The facts of an older manifest that authz finds itself, too, change nothing."""
    for more in ({"supported": "true"}, {"central_key": "true"}, {"base_url": URL}):
        assert find({**CONTEXT, **more}) == FOUND
        assert find(more, resources(ANTHROPIC)) == FOUND
    assert find({"keyless": "true"}, resources(ANTHROPIC)) == FOUND


@pytest.mark.parametrize(
    "said",
    [
        {"provider": "openai"},
        {"path": "/other"},
        {"path": "/"},
        {"base_url": "https://evil.test/"},
        {"base_url": "https://api.anthropic.com"},
        {"provider": "openai", "path": "/anthropic", "secret": SECRET},
    ],
)
def test_disagreement(said: Mapping[str, str]) -> None:
    """A context that says something else than the HTTPRoute's binding is refused."""
    assert find(said, resources(ANTHROPIC)) == Cause.DISAGREEMENT.name


def test_agreement() -> None:
    """A context that says the same is accepted; a wrong secret is never."""
    metadata = resources(ANTHROPIC)
    assert find(CONTEXT, metadata) == FOUND
    assert find({"provider": "anthropic", "path": "/anthropic"}, metadata) == FOUND
    assert find(CONTEXT | {"secret": "x"}, metadata) == Cause.UNPROVEN.name
    assert find(CONTEXT | {"base_url": "https://evil.test/"}) == Cause.DISAGREEMENT.name
