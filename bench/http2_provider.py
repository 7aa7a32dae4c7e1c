"""A provider's edge: an Envoy that speaks HTTP/2 over TLS, and HTTP/1.1 to the provider itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import naked
from bench.processes import Process
from bench.world import World
from tests.support.certificates import Authority
from tests.support.ports import free_port

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


@dataclass(frozen=True)
class Edge:
    """An edge that serves.

    Attributes:
        port: where it speaks HTTP/2 over TLS, as 127.0.0.1.
        ca_file: the CA of its certificate.
    """

    port: int
    ca_file: Path
    process: Process


def start(world: World, provider_port: int) -> Edge:
    """Start an edge in front of a provider.

    Args:
        provider_port: of the provider, which speaks HTTP/1.1.
    """
    port = free_port()
    authority = Authority(world.folder, "edge-ca")
    certificate, key = authority.issue()
    values = naked.configuration(port, provider_port, provider_port)
    (listener,) = values["static_resources"]["listeners"]
    (chain,) = listener["filter_chains"]
    chain["transport_socket"] = _terminate(certificate, key)
    # Every path, with the headers as they are.
    (host,) = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    cluster = values["static_resources"]["clusters"][0]["name"]
    host["routes"] = [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]
    return Edge(port, authority.ca_file, world.start_envoy("edge", values))


def _terminate(certificate: Path, key: Path) -> dict[str, Any]:
    files = {
        "certificate_chain": {"filename": str(certificate)},
        "private_key": {"filename": str(key)},
    }
    context = {"tls_certificates": [files], "alpn_protocols": ["h2"]}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": _TLS, "common_tls_context": context},
    }
