"""The printed manifests, compared with the schemas of the gateways' own CRDs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from authz.config.settings import Config
from authz.manifests.envoy_gateway import print_envoy_gateway
from authz.manifests.istio import print_istio
from tests.gateways.building import (
    ENVOY_GATEWAY,
    ENVOY_GATEWAY_VERSION,
    ISTIO,
    ISTIO_VERSION,
    module_folder,
)
from tests.unit.manifests.conftest import ADDRESS, GATEWAY, config, external_config

__all__ = ["config"]
pytestmark = pytest.mark.timeout(1200)
_EG_CRDS = Path("charts/gateway-helm/charts/crds/crds")
_ISTIO_CRDS = Path("manifests/charts/base/files/crd-all.gen.yaml")

Schemas = dict[tuple[str, str], Any]


def _schemas(files: Iterator[Path]) -> Schemas:
    """Return the schemas of CRDs by version and kind; unknown fields are errors."""
    found = {}
    for file in files:
        for crd in yaml.load_all(file.read_text(), yaml.CSafeLoader):
            if not crd or crd["kind"] != "CustomResourceDefinition":
                continue
            for version in crd["spec"]["versions"]:
                api = f"{crd['spec']['group']}/{version['name']}"
                schema = version["schema"]["openAPIV3Schema"]
                found[api, crd["spec"]["names"]["kind"]] = _closed(schema)
    return found


def _closed(schema: Any) -> Any:
    """Forbid unknown fields, which an API server would drop, in each object with known ones."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    opened = "additionalProperties" in schema or "x-kubernetes-preserve-unknown-fields" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not opened:
        closed["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("pattern", None)
    return closed


def _check(text: str, schemas: Schemas) -> int:
    documents = list(yaml.safe_load_all(text))
    for one in documents:
        schema = schemas[one["apiVersion"], one["kind"]]
        checked = {key: value for key, value in one.items() if key == "spec"}
        properties = {"spec": schema["properties"]["spec"]}
        jsonschema.Draft7Validator({"type": "object", "properties": properties}).validate(checked)
    return len(documents)


@pytest.fixture(params=["tls", "plain"])
def any_config(request: pytest.FixtureRequest, config: Config) -> Config:
    """A configuration whose authz has TLS, and one without TLS."""
    plain = external_config(authz={"grpc": "0.0.0.0:9001", "insecure": True})
    return config if request.param == "tls" else plain


def test_envoy_gateway(any_config: Config) -> None:
    """The manifests for Envoy Gateway fit its CRDs, and those of Gateway API that it ships."""
    folder = module_folder(ENVOY_GATEWAY, ENVOY_GATEWAY_VERSION) / _EG_CRDS
    schemas = _schemas(folder.rglob("*.yaml"))
    assert _check(print_envoy_gateway(any_config, GATEWAY, [ADDRESS]), schemas) == 11


def test_istio(any_config: Config) -> None:
    """The manifests for Istio fit its CRDs."""
    file = module_folder(ISTIO, ISTIO_VERSION) / _ISTIO_CRDS
    schemas = _schemas(iter([file]))
    count = _check(print_istio(any_config, "istio-system", "a=b", [ADDRESS]), schemas)
    assert count == (11 if any_config.authz.tls is not None else 10)


def test_an_unknown_field() -> None:
    """A field that a CRD does not have is an error."""
    folder = module_folder(ENVOY_GATEWAY, ENVOY_GATEWAY_VERSION) / _EG_CRDS
    schemas = _schemas(folder.rglob("*securitypolicies.yaml"))
    plain = external_config(authz={"grpc": "0.0.0.0:9001", "insecure": True})
    documents = yaml.safe_load_all(print_envoy_gateway(plain, GATEWAY, [ADDRESS]))
    policy = next(one for one in documents if one["kind"] == "SecurityPolicy")
    policy["spec"]["extAuth"]["failClosed"] = True
    with pytest.raises(jsonschema.ValidationError, match="failClosed"):
        _check(yaml.safe_dump(policy), schemas)
