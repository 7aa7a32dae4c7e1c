"""The setting ``external_gateways``."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from authz.config.loading import load
from authz.config.schema import schema
from authz.errors import ConfigError

PROVIDERS = [
    {"name": "anthropic", "type": "anthropic", "base_url": "https://api.anthropic.com/"},
    {"name": "openai", "type": "openai", "base_url": "https://api.openai.com/v1/"},
    {
        "name": "aws",
        "type": "bedrock",
        "base_url": "https://bedrock-mantle.us-east-1.api.aws",
        "aws": {"region": "us-east-1"},
    },
]
ROUTE = {"httproute": "ai/anthropic", "path": "/anthropic", "provider": "anthropic"}
SECRETS = {"ONE": "a" * 32, "SAME": "a" * 32, "TWO": "b" * 64, "SHORT": "c" * 31, "EMPTY": ""}


def problems(tmp_path: Path, external: Any) -> list[str]:
    """Return what ``load`` reports about a file, without the file's name and line."""
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump({"providers": PROVIDERS, "external_gateways": external}))
    try:
        load(file, environ=SECRETS)
    except ConfigError as error:
        return [problem.partition(": ")[2] for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "external",
    [
        None,
        {"routes": [ROUTE]},
        {"secret": {"env": "ONE"}},
        {"routes": [ROUTE], "secret": {"env": "ONE"}, "envoy_secret": {"env": "TWO"}},
        {"routes": [{"host": "llm.example.com", "path": "/", "provider": "openai"}]},
        # The same path on two bindings, and two paths on one binding.
        {"routes": [ROUTE, ROUTE | {"httproute": "other/anthropic"}]},
        {"routes": [ROUTE, ROUTE | {"path": "/anthropics"}]},
        {"routes": [ROUTE | {"path": "/llm/v2~x/anthropic_1"}]},
    ],
)
def test_good(tmp_path: Path, external: Any) -> None:
    """These settings are taken, by the code and by the schema."""
    assert problems(tmp_path, external) == []
    document = json.loads(json.dumps({"external_gateways": external}))
    Draft202012Validator(schema()).validate(document)


@pytest.mark.parametrize(
    ("external", "key", "cure"),
    [
        ({}, ".routes", "must not be empty, unless secret is set"),
        ({"routes": []}, ".routes", "must not be empty"),
        ({"routes": [{"path": "/a", "provider": "openai"}]}, ".routes[0]", "set httproute"),
        ({"routes": [ROUTE | {"host": "a.test"}]}, ".routes[0]", "mutually exclusive"),
        ({"routes": [ROUTE | {"httproute": "anthropic"}]}, ".routes[0].httproute", "NAMESPACE/"),
        ({"routes": [ROUTE | {"httproute": "*/x"}]}, ".routes[0].httproute", "NAMESPACE/"),
        ({"routes": [ROUTE | {"httproute": "a.b/x"}]}, ".routes[0].httproute", "NAMESPACE/"),
        *(
            (
                {"routes": [{"host": host, "path": "/", "provider": "openai"}]},
                ".routes[0].host",
                "lower case",
            )
            for host in ("", "*", "*.a.test", "A.test", "a.test.", "a.test:443", "u@a.test", "a..b")
        ),
        *(
            ({"routes": [ROUTE | {"path": path}]}, ".routes[0].path", "literal path")
            for path in ("", "a", "//", "/a/", "/a//b", "/.", "/a/..", "/a/./b", "/%61", "/a?b")
        ),
        ({"routes": [ROUTE | {"provider": "nope"}]}, ".routes[0].provider", "not in providers"),
        ({"routes": [ROUTE | {"provider": "aws"}]}, ".routes[0].provider", "type bedrock"),
        ({"routes": [ROUTE, ROUTE]}, ".routes[1].path", "overlaps /anthropic of routes[0]"),
        ({"routes": [ROUTE, ROUTE | {"path": "/anthropic/v1"}]}, ".routes[1].path", "overlaps"),
        ({"routes": [ROUTE, ROUTE | {"path": "/"}]}, ".routes[1].path", "overlaps /anthropic"),
        ({"secret": {"env": "SHORT"}}, ".secret", "at least 32 characters"),
        ({"secret": {"env": "EMPTY"}}, ".secret", "EMPTY is not set"),
        ({"secret": {"env": "UNSET"}}, ".secret", "UNSET is not set"),
        ({"secret": {"file": "/nowhere/secret"}}, ".secret.file", "No such file"),
        ({"secret": "a" * 32}, ".secret", "never write the key itself"),
        (
            {"routes": [ROUTE], "envoy_secret": {"env": "SHORT"}},
            ".envoy_secret",
            "at least 32 characters",
        ),
        (
            {"secret": {"env": "ONE"}, "envoy_secret": {"env": "ONE"}},
            ".envoy_secret",
            "must not be the same",
        ),
        (
            {"secret": {"env": "ONE"}, "envoy_secret": {"env": "SAME"}},
            ".envoy_secret",
            "must not be the same",
        ),
    ],
)
def test_bad(tmp_path: Path, external: Any, key: str, cure: str) -> None:
    """Settings that can't work or can't be safe are refused, with the key and the cure."""
    found = [text for text in problems(tmp_path, external) if cure in text]
    assert len(found) == 1
    assert found[0].startswith(f"external_gateways{key}: ")
    assert not any(secret in found[0] for secret in SECRETS.values() if secret)


def test_the_schema_knows_the_two_bindings() -> None:
    """An editor reports a route with no binding or with both."""
    validator = Draft202012Validator(schema())
    route = {"path": "/a", "provider": "openai"}
    both = route | {"httproute": "a/b", "host": "a.test"}
    for bad in (route, both):
        assert not validator.is_valid({"external_gateways": {"routes": [bad]}})
