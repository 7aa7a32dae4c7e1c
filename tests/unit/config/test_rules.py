"""authz.config.rules: settings that can't work together, and unwise ones."""

from typing import Any

import pytest

from authz.addresses import parse_base_url
from authz.config.base_urls import base_url_problem, base_url_warning
from authz.config.rules import broken_rules, warnings
from authz.config.settings import DEFAULT_PROVIDERS, Config
from authz.config.validation import validated
from authz.core.providers import PROVIDER_TYPES

GOOD = {
    "anthropic": ["https://api.anthropic.com/", "https://mirror.example/anthropic"],
    "openai": [
        "https://api.openai.com/v1/",
        "https://eu.api.openai.com/v1",
        "https://chatgpt.com/backend-api/codex",
        "https://r.openai.azure.com/openai/v1",
        "http://127.0.0.1:9/mirror/backend-api/codex",
    ],
    "azure": ["https://r.openai.azure.com", "https://apim.example/openai"],
    "google": ["https://generativelanguage.googleapis.com/v1beta/openai/"],
    "gemini": ["https://generativelanguage.googleapis.com", "https://mirror.example/gemini"],
    "bedrock": ["https://bedrock-mantle.us-east-1.api.aws", "https://mirror.example/bedrock"],
    "copilot": ["https://api.individual.githubcopilot.com", "https://api.githubcopilot.com/"],
    "openrouter": ["https://openrouter.ai/api/v1"],
    "vercel": ["https://ai-gateway.vercel.sh/v1"],
    "openai-compat": [
        "http://127.0.0.1:11434/v1",
        "https://api.groq.com/openai/v1",
        "https://api.anthropic.com/v1/",
        "https://host.example/api/v3",
        "https://r.services.ai.azure.com/models",
        "https://us-aiplatform.googleapis.com/v1/projects/p/locations/us/endpoints/openapi",
    ],
}
BAD = [
    ("anthropic", "https://api.anthropic.com/v1", "use https://api.anthropic.com/"),
    ("anthropic", "https://api.anthropic.com/v1/messages", "use https://api.anthropic.com/"),
    ("anthropic", "https://mirror.example/x/v1/", "use https://mirror.example/x"),
    ("anthropic", "https://mirror.example/v1/messages", "use https://mirror.example/"),
    ("anthropic", "https://api.openai.com/v1", "does not speak the API of type anthropic"),
    ("openai", "https://api.openai.com", "use https://api.openai.com/v1"),
    ("openai", "https://api.openai.com/v1/chat/completions", "use https://api.openai.com/v1"),
    ("openai", "https://chatgpt.com/", "use https://chatgpt.com/backend-api/codex"),
    ("openai", "https://r.openai.azure.com", "use https://r.openai.azure.com/openai/v1"),
    ("openai-compat", "http://127.0.0.1:8000/v1/chat/completions", "use http://127.0.0.1:8000/v1"),
    ("openai-compat", "https://openrouter.ai/v1", "use https://openrouter.ai/api/v1"),
    ("azure", "https://r.openai.azure.com/openai/v1/", "use https://r.openai.azure.com/"),
    ("azure", "https://r.openai.azure.com/openai", "use https://r.openai.azure.com/"),
    ("azure", "https://apim.example/openai/v1", "use https://apim.example/"),
    ("azure", "https://apim.example/x/openai/deployments/gpt", "use https://apim.example/x"),
    ("google", "https://generativelanguage.googleapis.com", "/v1beta/openai"),
    ("gemini", "https://generativelanguage.googleapis.com/v1beta", "googleapis.com/"),
    ("gemini", "https://mirror.example/v1beta/models", "use https://mirror.example/"),
    ("gemini", "https://us-aiplatform.googleapis.com", "does not speak the API of type gemini"),
    ("bedrock", "https://bedrock-mantle.us-east-1.api.aws/v1", "us-east-1.api.aws/"),
    ("bedrock", "https://mirror.example/anthropic/v1", "use https://mirror.example/"),
    ("copilot", "https://api.githubcopilot.com/v1", "use https://api.githubcopilot.com/"),
    ("copilot", "https://mirror.example/v1", "use https://mirror.example/"),
    ("openrouter", "https://openrouter.ai/", "use https://openrouter.ai/api/v1"),
    ("vercel", "https://ai-gateway.vercel.sh", "use https://ai-gateway.vercel.sh/v1"),
]


def _broken(values: dict[str, Any]) -> list[str]:
    config, _ = validated(values)
    return list(broken_rules(config))


def test_good_base_urls() -> None:
    """Documented base URLs are accepted for every type, including the defaults."""
    assert GOOD.keys() == PROVIDER_TYPES.keys()
    for kind, urls in GOOD.items():
        for text in urls:
            url = parse_base_url(text)
            assert base_url_problem(kind, url) is None, text
            if not text.endswith("openapi"):
                assert base_url_warning(kind, url) is None, text
    for provider in DEFAULT_PROVIDERS:
        assert base_url_problem(provider.type, provider.base_url) is None


@pytest.mark.parametrize(("kind", "url", "cure"), BAD)
def test_bad_base_urls(kind: str, url: str, cure: str) -> None:
    """A base URL that can't work is refused, and the one that the error suggests is accepted."""
    problem = base_url_problem(kind, parse_base_url(url))
    assert problem is not None
    assert problem.endswith(cure)
    if "use " in problem:
        better = problem.rpartition("use ")[2]
        assert base_url_problem(kind, parse_base_url(better)) is None


def test_the_bad_ones_cover_every_type() -> None:
    """The list of bad base URLs covers every type."""
    assert {kind for kind, _, _ in BAD} == PROVIDER_TYPES.keys()


@pytest.mark.parametrize("kind", [k for k, t in PROVIDER_TYPES.items() if t.client_prefix])
def test_no_version_is_a_warning(kind: str) -> None:
    """A base URL without a version is a warning on an unknown host, where it may be right."""
    url = parse_base_url("http://127.0.0.1:11434")
    assert base_url_problem(kind, url) is None
    assert "need http://127.0.0.1:11434/v1" in (base_url_warning(kind, url) or "")


def test_base_urls_of_both_keys() -> None:
    """`base_url` and `public_url` are both checked, in addition to other problems."""
    provider = {
        "name": "A B",
        "type": "anthropic",
        "base_url": "https://m.example/v1",
        "public_url": "https://api.anthropic.com/v1",
    }
    found = _broken({"providers": [provider, 5]})
    assert [problem.partition(": ")[0] for problem in found] == [
        "providers[0].base_url",
        "providers[0].public_url",
    ]


def test_regions() -> None:
    """AWS refuses a signature for a region that is not the host's."""
    provider = {
        "name": "aws",
        "type": "bedrock",
        "base_url": "https://bedrock-mantle.us-east-1.api.aws",
        "aws": {"region": "eu-west-1"},
    }
    assert _broken({"providers": [provider]})[0].startswith("providers[0].aws.region: eu-west-1")
    assert _broken({"providers": [{**provider, "aws": {"region": "us-east-1"}}]}) == []


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, []),
        ({"authz": {"http": "127.0.0.1:8080"}}, ["authz.http"]),
        ({"authz": {"http": "0.0.0.0:8080"}}, ["authz.http"]),
        ({"authz": {"http": "[::]:8080"}}, ["authz.http"]),
        ({"authz": {"http": "localhost:8080"}}, ["authz.http"]),
        ({"authz": {"http": "127.0.0.2:8080"}}, []),
        ({"proxy": {"listen": "127.0.0.1:8081"}}, ["proxy.listen"]),
        ({"proxy": {}, "envoy": {"metrics": "127.0.0.1:8888"}}, ["proxy.listen"]),
        ({"envoy": {"admin": "127.0.0.1:8080"}}, ["envoy.admin"]),
        ({"envoy": {"admin": "unix:.authz/../.authz/authz.sock"}}, ["envoy.admin"]),
        (
            {"authz": {"grpc": "127.0.0.1:8079", "workers": 3}},
            ["authz.grpc", "authz.http"],
        ),
        ({"listen": 5, "envoy": {"metrics": "127.0.0.1:8081"}}, ["envoy.metrics"]),
        (
            {
                "authz": {"grpc": "127.0.0.1:9", "http": "127.0.0.1:8080"},
                "envoy": {"authz_http": ["authz:8080"]},
            },
            [],
        ),
    ],
)
def test_shared_addresses(values: dict[str, Any], keys: list[str]) -> None:
    """Two keys can't share an address in any spelling, unless on different machines."""
    assert [problem.partition(": ")[0] for problem in _broken(values)] == keys


def test_a_provider_in_no_proxy() -> None:
    """A provider's host in `proxy.no_proxy` leads tools around the gateway."""
    (found,) = _broken(
        {
            "proxy": {"no_proxy": ["a.example", ".openai.com"]},
            "providers": [
                {"name": "a", "type": "openai", "base_url": "https://api.openai.com/v1"},
                {"name": "b"},
            ],
        }
    )
    assert found.startswith("proxy.no_proxy[1]: api.openai.com is a provider's host")


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"listen": "0.0.0.0:8080"}, "listen"),
        ({"listen": "[::]:8080"}, "listen"),
        ({"listen": "gateway.example:443"}, "listen"),
        ({"sign_in": {"url": "http://gateway.example"}}, "sign_in.url"),
        ({"sign_in": {"url": "https://gateway.example"}}, None),
        ({"sign_in": {"url": "http://localhost:8080"}}, None),
        ({"proxy": {"listen": "0.0.0.0:8888"}}, "proxy.listen"),
        ({"envoy": {"admin": "0.0.0.0:9901"}}, "envoy.admin"),
        ({"identity": "http://coder.example:7080"}, "identity"),
        ({"identity": "http://coder.example"}, "identity"),
        ({"identity": "http://127.0.0.1"}, None),
        ({"identity": "http://[::1]:7080/x"}, None),
        ({"identity": "http://localhost:7080"}, None),
        ({"identity": "https://coder.example"}, None),
        ({"listen": "localhost:8080"}, None),
        ({}, None),
        (
            {"providers": [{"name": "a", "type": "gemini", "base_url": "http://models.internal"}]},
            "providers[0].base_url",
        ),
        ({"providers": [{"name": "a", "type": "gemini", "base_url": "http://[::1]:1"}]}, None),
    ],
)
def test_warnings(values: dict[str, Any], key: str | None) -> None:
    """Cleartext on the network is a warning, since TLS may be terminated in front."""
    found = list(warnings(Config.model_validate(values)))
    assert [text.partition(": ")[0] for text in found] == ([] if key is None else [key])


def test_public_url_behind_a_balancer() -> None:
    """The warning asks for the public URL until it is set, since TLS may end in front."""

    def text(**values: Any) -> str:
        return "".join(warnings(Config.model_validate({"listen": "0.0.0.0:8080", **values})))

    assert "set sign_in.url" in text()
    assert "sign_in.url" not in text(sign_in={"url": "https://gateway.example"})
    assert "sign_in.url" not in text(identity="https://coder.example")
    assert text(tls={"cert_file": "c.pem", "key_file": "k.pem"}) == ""


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"prices": {"books": {"corp": "azure"}}}, "prices.books.corp: there is no provider corp"),
        (
            {"prices": {"overrides": [{"model": "m", "provider": "x", "input": 1, "output": 1}]}},
            "prices.overrides[0].provider: there is no provider x: this gateway has anthropic,",
        ),
        ({"prices": {}, "usage": {"enabled": False}}, "prices: needs usage.enabled"),
    ],
)
def test_prices_that_cannot_apply(values: dict[str, Any], problem: str) -> None:
    """Prices of a provider that is missing, and prices without records, are errors."""
    (found,) = _broken(values)
    assert found.startswith(problem)


def test_prices_that_apply() -> None:
    """Prices of providers of the file are fine, also beside another error."""
    override = {"model": "m", "provider": "openai", "input": 1, "output": 1}
    prices = {"books": {"chatgpt": "none"}, "overrides": [override]}
    assert _broken({"prices": prices}) == []
    assert _broken({"prices": {**prices, "unpriced": 1}, "usage": 5, "providers": 3}) == []
