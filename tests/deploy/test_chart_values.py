"""The values of deploy/helm: the ones that are refused, with the errors, and what they may hold."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from authz.lifetimes import parse_duration
from tests.support.chart import CHART, VALUES, Helm
from tests.support.deployment import BASE, REPOSITORY

GATEWAY = (BASE / "gateway.yaml").read_text()


REFUSED = {
    "authz.replicas=two": "at '/authz/replicas': got string, want integer",
    "authz.replica=3": "at '/authz': additional properties 'replica' not allowed",
    "secrets.providerKeys=Not_A_Name": "at '/secrets/providerKeys': 'Not_A_Name' does not match",
    "authz.image.digest=latest": "at '/authz/image/digest'",
    "envoy.service.type=Ingress": "at '/envoy/service/type': value must be one of",
    "fullnameOverride=other": "set envoy.authz_grpc: [other-authz:9001]",
    "envoy.resources.limits.memory=512Mi": "set envoy.max_heap_mib below the limit",
    "gateway=[": "gateway: not valid YAML",
}


@pytest.mark.parametrize("value", REFUSED)
def test_bad_values(helm: Helm, value: str) -> None:
    """The error for a bad value names it and says what it may be."""
    assert REFUSED[value] in helm.refusal("--set", value)


UNFIT = {
    ("workers: 1 ", "workers: 4 "): "set authz.workers: 1.",
    ("workers: 1 ", ""): "set authz.workers: 1.",
    ("  concurrency: 2", ""): "set envoy.concurrency, such as 2",
    ("max_heap_mib: 768", "max_heap_mib: 1024"): "set envoy.max_heap_mib below the limit",
    ("listen: 0.0.0.0:8080", "listen: 127.0.0.1:8080"): "set listen to 0.0.0.0:PORT",
    ("grpc: 0.0.0.0:9001", "grpc: unix:authz.sock"): "set authz.grpc to 0.0.0.0:PORT",
    ("  envoy_http: 0.0.0.0:8082", ""): "set authz.envoy_http to 0.0.0.0:PORT",
    ("[authz:9001]", "[authz:9001, 10.0.0.1:9001]"): "set envoy.authz_grpc: [authz:9001]",
    ("  authz_http: [authz:8082]", ""): "set envoy.authz_http: [authz:8082]",
    ("  admin: 127.0.0.1:9901", ""): "set envoy.admin to 127.0.0.1:PORT",
    ("  metrics: 0.0.0.0:9902", ""): "set envoy.metrics to 0.0.0.0:PORT",
    ("drain_timeout: 3600", "drain_timeout: 1d"): "write envoy.drain_timeout in seconds",
    ("allow_byok: true", "proxy: {}"): "remove proxy",
    ("allow_byok: true", "proxy: {listen: 0.0.0.0:8888}"): "remove proxy",
    ("  tls: {", "  client_tls: {"): "set authz.tls to the files of /run/tls",
}


@pytest.mark.parametrize("change", UNFIT, ids=lambda pair: pair[1] or f"no {pair[0]}")
def test_a_gateway_yaml_that_does_not_fit(
    helm: Helm, change: tuple[str, str], tmp_path: Path
) -> None:
    """The error for an unfit gateway.yaml names the setting and its cure."""
    text = GATEWAY.replace(*change)
    assert text != GATEWAY
    (tmp_path / "gateway.yaml").write_text(text)
    said = helm.refusal("--set-file", f"gateway={tmp_path / 'gateway.yaml'}")
    assert UNFIT[change] in said


def test_values_and_schema() -> None:
    """The defaults are valid, and the schema has no option that values.yaml does not show."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(values, schema)

    def compare(values: dict[str, Any], schema: dict[str, Any]) -> None:
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rpartition("/")[2]]
        if "properties" in schema:
            assert values.keys() == schema["properties"].keys() - {"global"}
            for name, part in schema["properties"].items():
                if isinstance(values.get(name), dict):
                    compare(values[name], part)

    definitions = schema["definitions"]
    compare(values, schema)


@pytest.mark.parametrize("duration", ["0", "45", "90s", "5m", "1h", "1h30m", "2h0m5s"])
def test_durations_are_those_of_authz(helm: Helm, duration: str, tmp_path: Path) -> None:
    """The chart reads envoy.drain_timeout as authz does."""
    text = GATEWAY.replace("drain_timeout: 3600", f"drain_timeout: {duration}")
    (tmp_path / "gateway.yaml").write_text(text)
    rendered = helm.rendered("--set-file", f"gateway={tmp_path / 'gateway.yaml'}")
    (envoy,) = (
        one["spec"]["template"]["spec"]["containers"][0]
        for one in rendered
        if one["kind"] == "Deployment" and one["metadata"]["name"] == "envoy"
    )
    seconds = int(duration) if duration.isdigit() else parse_duration(duration).total_seconds()
    assert {"name": "DRAIN_SECONDS", "value": str(int(seconds))} in envoy["env"]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
    else:
        yield str(value)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_the_values_files_have_a_gateway_yaml(values: Path) -> None:
    """The settings' schema accepts the gateway.yaml of each values file."""
    gateway = yaml.safe_load(yaml.safe_load(values.read_text())["gateway"])
    schema = json.loads((REPOSITORY / "docs" / "gateway.schema.json").read_text())
    jsonschema.validate(gateway, schema)


def test_no_value_is_a_secret() -> None:
    """Values hold only the names of secrets: the schema has no place for their content."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    names = schema["definitions"]["secretName"]
    assert names["maxLength"] == 253
    for name, part in schema["properties"]["secrets"]["properties"].items():
        assert part == {"$ref": "#/definitions/secretName"}, name
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert not [text for text in _strings(values) if text.startswith(("sk-", "-----BEGIN"))]
