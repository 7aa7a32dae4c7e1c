"""The printed manifests on a real API server, with the gateways' CRDs and their rules."""

from pathlib import Path

import pytest

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
from tests.gateways.kubernetes import kubernetes
from tests.unit.manifests.conftest import ADDRESS, GATEWAY, config, external_config

__all__ = ["config"]
pytestmark = pytest.mark.timeout(1200)
_EG_CRDS = Path("charts/gateway-helm/charts/crds/crds")
_ISTIO_CRDS = Path("manifests/charts/base/files/crd-all.gen.yaml")


def test_every_manifest_is_accepted(config: Config, tmp_path: Path) -> None:
    """The server accepts every printed manifest as it is, with TLS to authz and without."""
    crds = module_folder(ENVOY_GATEWAY, ENVOY_GATEWAY_VERSION) / _EG_CRDS
    plain = external_config(authz={"grpc": "0.0.0.0:9001", "insecure": True})
    cluster = tmp_path / "cluster"
    cluster.mkdir()
    with kubernetes(cluster) as running:
        running.apply(crds / "gatewayapi-crds.yaml", crds / "generated")
        running.apply(module_folder(ISTIO, ISTIO_VERSION) / _ISTIO_CRDS)
        for namespace in ("ai", "infra", "istio-system"):
            running.kubectl("create", "namespace", namespace)
        for one in (config, plain):
            file = tmp_path / "manifests.yaml"
            eg = print_envoy_gateway(one, GATEWAY, [ADDRESS])
            istio = print_istio(one, "istio-system", "istio=gateway", [ADDRESS])
            file.write_text(f"{eg}---\n{istio}")
            accepted = running.apply(file, dry_run=True).splitlines()
            assert len(accepted) == eg.count("\nkind:") + istio.count("\nkind:")
