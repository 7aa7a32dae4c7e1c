"""A live Istio control plane and a gateway, with the manifests that authz prints."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.gateways.building import ISTIO, ISTIO_VERSION, module_folder, pilot_discovery
from tests.gateways.envoy_gateway import Ports
from tests.gateways.kubernetes import kubernetes
from tests.support.external_envoys import HOST, ExternalGateways
from tests.support.pair import Provider, free_port, wait_until

NAMESPACE = "istio-system"
SELECTOR = "topology.istio.io/cluster=Kubernetes"
"""The only label of a gateway that is not a Pod."""
ROUTES = [{"host": HOST, "path": f"/{name}", "provider": name} for name in ("anthropic", "openai")]
_CRDS = Path("manifests/charts/base/files/crd-all.gen.yaml")
# Extensions that only Istio's own build of Envoy has.
_WITHOUT = {"PILOT_ENABLE_METADATA_EXCHANGE": "false", "PILOT_ENABLE_ALPN_FILTER": "false"}
_BOOTSTRAP = """\
node:
  id: router~127.0.0.1~gateway-1.istio-system~istio-system.svc.cluster.local
  cluster: gateway
  metadata: {{NAMESPACE: istio-system, CLUSTER_ID: Kubernetes}}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: xds-grpc}}}}]
  cds_config: {{ads: {{}}, resource_api_version: V3}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
    - name: xds-grpc
      type: STATIC
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {{http2_protocol_options: {{}}}}
      load_assignment:
        cluster_name: xds-grpc
        endpoints:
          - lb_endpoints:
              - endpoint:
                  address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
"""


class LiveIstio(ExternalGateways):
    """One ``authz serve``, Istio's pilot, and an Envoy that it configures."""

    def __init__(self, folder: Path, provider: Provider, settings: dict[str, Any]) -> None:
        super().__init__(folder, provider, {"external_gateways": {"routes": ROUTES}, **settings})
        self._pilot: subprocess.Popen[bytes] | None = None

    def start_gateway(self, stack: contextlib.ExitStack, program: Path | None = None) -> None:
        """Start the API server, the pilot and the gateway; authz runs already.

        Args:
            stack: ends the API server.
            program: the Envoy; None for the project's own.
        """
        cluster = self.folder / "cluster"
        cluster.mkdir()
        running = stack.enter_context(kubernetes(cluster))
        running.apply(module_folder(ISTIO, ISTIO_VERSION) / _CRDS)
        running.kubectl("create", "namespace", NAMESPACE)
        authz = ("--authz", f"127.0.0.1:{self._authz_port}")
        printed = self.command("manifests", "istio", "--selector", SELECTOR, *authz).stdout
        mesh = self.command("manifests", "istio", "--mesh", *authz).stdout
        documents = list(yaml.safe_load_all(printed))
        port, grpc = free_port(), free_port()
        for one in documents:
            if one["kind"] == "Gateway":
                # The certificate would come from a Secret, of a control plane with a CA.
                (server,) = one["spec"]["servers"]
                server["port"] = {"number": port, "name": "http", "protocol": "HTTP"}
                del server["tls"]
        manifests = self.folder / "manifests.yaml"
        manifests.write_text(yaml.safe_dump_all(documents))
        running.apply(manifests)
        mesh_file = self.folder / "mesh.yaml"
        # Without a CA no certificate for mutual TLS in the mesh ever comes.
        settings = {**yaml.safe_load(mesh)["meshConfig"], "enableAutoMtls": False}
        mesh_file.write_text(yaml.safe_dump(settings))
        command = [str(pilot_discovery()), "discovery", "--kubeconfig", str(running.kubeconfig)]
        command += ["--meshConfig", str(mesh_file), "--grpcAddr", f"127.0.0.1:{grpc}"]
        command += ["--httpAddr", f"127.0.0.1:{free_port()}", "--secureGRPCAddr", ""]
        command += ["--monitoringAddr", f"127.0.0.1:{free_port()}", "--httpsAddr", ""]
        command += ["--ctrlz_port", str(free_port())]
        environ = {**os.environ, **_WITHOUT, "ENABLE_CA_SERVER": "false"}
        environ["PILOT_CERT_PROVIDER"] = "none"
        with (self.folder / "pilot.log").open("wb") as log:
            self._pilot = subprocess.Popen(
                command, cwd=self.folder, env=environ, stdout=log, stderr=log
            )
        self.add("istio", _BOOTSTRAP.format(port=grpc), program)
        self.ports = Ports({"istio": port})
        wait_until(lambda: self._asks(401), 90, "the gateway being up")

    def end(self) -> None:
        """Stop everything."""
        super().end()
        if self._pilot is not None:
            self._pilot.kill()
            self._pilot.wait()


@contextlib.contextmanager
def live_istio(provider: Provider, program: Path | None = None) -> Iterator[LiveIstio]:
    """Run authz and Istio, with the users alice and bob.

    Args:
        program: the Envoy; None for the project's own.
    """
    folder = Path(tempfile.mkdtemp(prefix="istio-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        running = LiveIstio(folder, provider, {})
        running.create_user("alice")
        running.create_user("bob")
        running.start(wait=False)
        stack.callback(running.end)
        running.start_gateway(stack, program)
        yield running
