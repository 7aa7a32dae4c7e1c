"""Checks manifests for the settings that authz needs."""

from collections.abc import Sequence

from authz.config.settings import Config
from authz.manifests.check_envoy_gateway import EnvoyGatewayCheck
from authz.manifests.check_istio import IstioCheck
from authz.manifests.documents import Manifest
from authz.manifests.findings import Finding


def check(manifests: Sequence[Manifest], config: Config) -> list[Finding]:
    """Return what manifests lack.

    Args:
        manifests: of any kind; unknown kinds are ignored.
        config: with ``external_gateways``, whose routes say what to look for.
    """
    found = [*EnvoyGatewayCheck(manifests, config).find(), *IstioCheck(manifests, config).find()]
    return list(dict.fromkeys(found))
