"""A live Envoy Gateway without Kubernetes, with the manifests that authz prints."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from authz.envoy import binary
from tests.gateways.building import envoy_gateway
from tests.support.external_envoys import EARLIER, ExternalGateways, earlier_envoy
from tests.support.pair import Provider, free_port, wait_until

CURRENT = "1.40.0"
VERSIONS = (CURRENT, EARLIER)
NAMESPACE = "ai"
GATEWAY_NAMESPACE = "infra"
GATEWAY = "public"
ROUTES = [
    {"httproute": f"{NAMESPACE}/{name}", "path": f"/{name}", "provider": name}
    for name in ("anthropic", "openai")
]


class Ports(dict[str, int]):
    """The ports of the live gateways; a gateway that does not run here has port 0."""

    def __missing__(self, name: str) -> int:
        return 0


class LiveEnvoyGateway(ExternalGateways):
    """One ``authz serve``, and an Envoy Gateway with one Gateway.

    Without Kubernetes, Envoy Gateway takes one EnvoyProxy, and so one version of Envoy.

    Args:
        folder: of everything.
        provider: the stand-in.
        version: of Envoy.
        settings: of ``gateway.yaml``.

    Attributes:
        manifests: what the Envoy Gateway reads; ``apply`` writes a change.
    """

    def __init__(
        self, folder: Path, provider: Provider, version: str, settings: dict[str, Any]
    ) -> None:
        super().__init__(folder, provider, {"external_gateways": {"routes": ROUTES}, **settings})
        self.version = version
        self._gateway: subprocess.Popen[bytes] | None = None
        self.manifests: list[dict[str, Any]] = []

    @property
    def printed(self) -> str:
        """The output of ``authz manifests envoy-gateway``."""
        name = f"{GATEWAY_NAMESPACE}/{GATEWAY}"
        address = f"127.0.0.1:{self._authz_port}"
        command = ("manifests", "envoy-gateway", "--gateway", name, "--authz", address)
        return self.command(*command).stdout

    def start(self, *arguments: str, wait: bool = True) -> None:
        """Start authz and the gateways."""
        (self.folder / "gateway.yaml").write_text(yaml.safe_dump(self.settings))
        port = free_port()
        self.ports = Ports({f"envoy-gateway {self.version}": port})
        self.manifests = [*_class_and_gateway(port), *yaml.safe_load_all(self.printed)]
        for one in self.manifests:
            if one["kind"] == "EnvoyProxy":
                # The part that says how Envoy runs is the team's.
                host = {"type": "Host", "host": {"envoyVersion": self.version}}
                one["spec"] |= {"provider": host, "concurrency": 1}
        self._prepare()
        self.apply()
        program = str(envoy_gateway())
        home = str(self.folder / "home")
        subprocess.run(
            [program, "certgen", "--local", "--config-home", f"{home}/config"],
            check=True,
            capture_output=True,
        )
        with (self.folder / "gateway.log").open("ab") as log:
            self._gateway = subprocess.Popen(
                [program, "server", "--config-path", str(self.folder / "envoy-gateway.yaml")],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.start_authz(*arguments, wait=False)
        if wait:
            wait_until(lambda: self._asks(401), 60, "the gateways being up")

    def apply(self) -> None:
        """Write the manifests, which the Envoy Gateway reads again."""
        text = yaml.safe_dump_all(self.manifests, sort_keys=False)
        # It reads every file of the folder, so the new one is written elsewhere.
        written = self.folder / "manifests.new"
        written.write_text(text)
        folder = self.folder / "manifests"
        folder.mkdir(exist_ok=True)
        written.replace(folder / "all.yaml")

    @property
    def log(self) -> str:
        """The log of the Envoy Gateway and its Envoys."""
        return (self.folder / "gateway.log").read_text(errors="replace")

    def end(self) -> None:
        """Stop everything."""
        if self._gateway is not None:
            # Its Envoys are in the same group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._gateway.pid, signal.SIGTERM)
            try:
                self._gateway.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._gateway.pid, signal.SIGKILL)
                self._gateway.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._gateway.pid, signal.SIGKILL)
        super().end()

    def _prepare(self) -> None:
        home = self.folder / "home"
        program = binary.find() if self.version == CURRENT else earlier_envoy()
        link = home / "data" / "envoy-versions" / self.version / "bin" / "envoy"
        link.parent.mkdir(parents=True)
        link.symlink_to(program)
        host = {f"{name}Home": str(home / name) for name in ("config", "data", "state")}
        host["runtimeDir"] = str(home / "run")
        resource = {"type": "File", "file": {"paths": [str(self.folder / "manifests")]}}
        infrastructure = {"type": "Host", "host": host}
        settings = {
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "EnvoyGateway",
            "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
            "provider": {
                "type": "Custom",
                "custom": {"resource": resource, "infrastructure": infrastructure},
            },
            "logging": {"level": {"default": "info"}},
            "extensionApis": {"enableBackend": True, "enableEnvoyPatchPolicy": True},
        }
        (self.folder / "envoy-gateway.yaml").write_text(yaml.safe_dump(settings))


def _class_and_gateway(port: int) -> list[dict[str, Any]]:
    """Return the objects that a team already has."""
    api = "gateway.networking.k8s.io/v1"
    controller = "gateway.envoyproxy.io/gatewayclass-controller"
    proxy = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": f"{GATEWAY}-authz"}
    listener = {
        "name": "http",
        "protocol": "HTTP",
        "port": port,
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    gateway = {
        "gatewayClassName": "eg",
        "infrastructure": {"parametersRef": proxy},
        "listeners": [listener],
    }
    return [
        {
            "apiVersion": api,
            "kind": "GatewayClass",
            "metadata": {"name": "eg"},
            "spec": {"controllerName": controller},
        },
        {
            "apiVersion": api,
            "kind": "Gateway",
            "metadata": {"name": GATEWAY, "namespace": GATEWAY_NAMESPACE},
            "spec": gateway,
        },
    ]


@contextlib.contextmanager
def live_envoy_gateway(
    provider: Provider, version: str = CURRENT, **settings: Any
) -> Iterator[LiveEnvoyGateway]:
    """Run authz and Envoy Gateway, with the users alice and bob.

    Args:
        version: of Envoy.
        settings: top-level keys of ``gateway.yaml`` to add or replace.
    """
    folder = Path(tempfile.mkdtemp(prefix="live-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        running = LiveEnvoyGateway(folder, provider, version, settings)
        running.create_user("alice")
        running.create_user("bob")
        stack.callback(running.end)
        running.start()
        yield running
