"""authz.config.schema and authz.config.reference, and their pages in docs/."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from authz.config.reference import reference_text
from authz.config.schema import schema, schema_text
from authz.config.settings import Config
from authz.config.validation import validated
from tests.support.deployment import BASE, DEPLOY, REPOSITORY

DOCS = REPOSITORY / "docs"
FILES = [
    DEPLOY / "compose" / "gateway.yaml",
    BASE / "gateway.yaml",
    REPOSITORY / "authz" / "cli" / "starter.yaml",
]


def test_the_files_in_docs_are_current() -> None:
    """The schema and the reference in docs/ are current; `make docs-reference` writes them."""
    assert (DOCS / "gateway.schema.json").read_text(encoding="utf-8") == schema_text()
    assert (DOCS / "configuration-reference.md").read_text(encoding="utf-8") == reference_text()


def test_it_is_a_schema() -> None:
    """The schema is valid in its own dialect, and has no keyword that a validator would ignore."""
    document = schema()
    jsonschema.Draft202012Validator.check_schema(document)
    text = json.dumps(document)
    for word in ('"ge"', '"le"', '"title": "L', "coder-contract", "``"):
        assert word not in text


def test_every_key_is_described() -> None:
    """Each section and each key has a description that is a sentence."""
    document = schema()
    for section in (document, *document["$defs"].values()):
        assert section["additionalProperties"] is False
        for name, node in {"": section, **section["properties"]}.items():
            text = node.get("description", "")
            assert text[:1].isupper() or text.startswith("`"), name
            assert text.endswith((".", ")")), name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_it_accepts_the_files_of_the_repository(file: Path) -> None:
    """Every gateway.yaml of the repository is valid, also for check-jsonschema."""
    jsonschema.validate(yaml.safe_load(file.read_text()), schema())
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile"]
    subprocess.run([*command, DOCS / "gateway.schema.json", file], check=True, capture_output=True)


_PROVIDER = {"name": "a", "type": "openai", "base_url": "https://a.example/v1"}

_RIGHT: dict[str, Any] = {
    "nothing": {},
    "durations": {"identity_stale_if_error": "5m", "envoy": {"drain_timeout": "1h30m"}},
    "seconds": {"identity_stale_if_error": 0.5, "envoy": {"drain_timeout": 30}},
    "null": {"cors": None, "limits": {"users": {"robot": None, "alice": 300}}},
    "no key": {
        "providers": [{**_PROVIDER, "type": "openai-compat", "key": "none"}],
    },
    "keys": {"providers": [{**_PROVIDER, "keys": [{"env": "A"}, {"env": "B", "file": None}]}]},
    "headers": {
        "providers": [{**_PROVIDER, "key": None, "account_headers": {"OpenAI-Project": "p 1"}}]
    },
    "IPv6": {"listen": "[::1]:8080", "authz": {"grpc": "unix:./a b.sock"}},
    "proxy": {"proxy": {"allowed_private_cidrs": ["10.0.0.0/8"], "no_proxy": [".example.com"]}},
    "default": Config().model_dump(mode="json"),
}


@pytest.mark.parametrize("case", _RIGHT)
def test_right_values(case: str) -> None:
    """The schema accepts what the settings accept."""
    assert validated(_RIGHT[case])[1] == []
    jsonschema.validate(_RIGHT[case], schema())


_WRONG: dict[str, Any] = {
    "unknown key": {"listn": "127.0.0.1:8080"},
    "unknown key in a section": {"envoy": {"max_conections": 1}},
    "port alone": {"listen": 8080},
    "address without a port": {"listen": "127.0.0.1"},
    "text for a boolean": {"allow_byok": "yes"},
    "duration": {"envoy": {"drain_timeout": "5 minutes"}},
    "fraction": {"envoy": {"drain_timeout": 0.5}},
    "too many": {"audit_keep_days": 36_501},
    "too few": {"envoy": {"max_checks": 0}},
    "none sampled": {"tracing": {"otlp": "http://a.example:4317", "sample": 0}},
    "scheme": {"identity": "mysql://db"},
    "type": {"providers": [{**_PROVIDER, "type": "opnai"}]},
    "name": {"providers": [{**_PROVIDER, "name": "My_Provider"}]},
    "no name": {"providers": [{"type": "openai", "base_url": "https://a.example/v1"}]},
    "key itself": {"providers": [{**_PROVIDER, "key": "sk-0123456789abcdef"}]},
    "empty reference": {"providers": [{**_PROVIDER, "key": {}}]},
    "both references": {"providers": [{**_PROVIDER, "key": {"env": "A", "file": "b"}}]},
    "key and keys": {"providers": [{**_PROVIDER, "key": {"env": "A"}, "keys": [{"env": "B"}]}]},
    "query": {"providers": [{**_PROVIDER, "base_url": "https://a.example/v1?key=1"}]},
    "method": {"providers": [{**_PROVIDER, "extra_paths": [{"path": "/v1/x", "methods": ["G"]}]}]},
    "header": {"providers": [{**_PROVIDER, "account_headers": {"a b": "c"}}]},
    "region": {"providers": [{**_PROVIDER, "type": "bedrock", "aws": {"region": "here"}}]},
    "half of TLS": {"tls": {"cert_file": "a.pem"}},
    "level": {"log": {"level": "trace"}},
    "no origins": {"cors": {"origins": []}},
}


@pytest.mark.parametrize("case", _WRONG)
def test_wrong_values(case: str) -> None:
    """The schema refuses what the settings refuse, if it can be seen in the file alone."""
    assert validated(_WRONG[case])[1]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(_WRONG[case], schema())
