"""The printed manifests of a configuration with TLS."""

from typing import Any

import pytest

from authz.addresses import TcpAddress
from authz.config.settings import Config
from authz.manifests.documents import Manifest, parse
from authz.manifests.envoy_gateway import print_envoy_gateway
from authz.manifests.istio import print_istio, print_mesh
from tests.support.certificates import Authority

GATEWAY = "infra/public"
ADDRESS = TcpAddress("authz.example.com", 9001)


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A configuration with routes of both kinds, whose authz has TLS."""
    folder = tmp_path_factory.mktemp("tls")
    cert_file, key_file = Authority(folder, "issuer").issue()
    tls = {"cert_file": str(cert_file), "key_file": str(key_file), "ca_file": str(cert_file)}
    return external_config(authz={"grpc": "0.0.0.0:9001", "tls": tls})


def external_config(**settings: Any) -> Config:
    """Return a configuration with routes of both kinds."""
    routes = [
        {"httproute": "ai/anthropic", "path": "/anthropic", "provider": "anthropic"},
        {"httproute": "ai/openai", "path": "/llm/openai", "provider": "openai"},
        {"host": "llm.example.com", "path": "/openai", "provider": "openai"},
        {"host": "claude.example.com", "path": "/", "provider": "anthropic"},
    ]
    return Config.model_validate({"external_gateways": {"routes": routes}, **settings})


@pytest.fixture(scope="session")
def printed(config: Config) -> dict[str, str]:
    """The output of the commands, by file name."""
    return {
        "eg.yaml": print_envoy_gateway(config, GATEWAY, [ADDRESS]),
        "istio.yaml": print_istio(config, "istio-system", "istio=gateway", [ADDRESS]),
        "mesh.yaml": print_mesh(config, [ADDRESS]),
    }


@pytest.fixture
def manifests(printed: dict[str, str]) -> list[Manifest]:
    """The printed manifests, read again for each test, which may change them."""
    return [manifest for name, text in printed.items() for manifest in parse(text, name)]
