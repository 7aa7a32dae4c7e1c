"""One Envoy and several ``authz serve`` on TCP with mutual TLS and one identity store."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from authz.envoy import binary
from tests.support.certificates import Authority, Certificate
from tests.support.command import run_in_process
from tests.support.load import Load
from tests.support.pair import Pair, Provider, _environment, free_port, wait_until
from tests.support.requests import MODELS


class Fleet(Pair):
    """An Envoy and its replicas; each part can be ended and started again.

    Args:
        name: a host name for all replicas, of which each has an address of its own then, and the
            same port.

    Attributes:
        authority: the CA of all certificates.
        hosts: the address of each replica.
        servers: what each replica shows.
        client: what Envoy shows.
    """

    def __init__(
        self,
        folder: Path,
        provider: Provider,
        count: int,
        settings: dict[str, Any],
        name: str | None = None,
    ) -> None:
        super().__init__(folder, provider, {"identity": f"sqlite:///{folder}/identity.db"})
        self.authority = Authority(folder, "fleet-ca")
        self.servers = [
            Certificate(self.authority, folder / f"server-{number}", name or "127.0.0.1")
            for number in range(count)
        ]
        self.name = name
        self.hosts = [f"127.0.0.{number + 1 if name else 1}" for number in range(count)]
        self.client = Certificate(self.authority, folder / "client")
        self.ports = [free_port()] * count if name else [free_port() for _ in range(count)]
        self.http_ports = [free_port() for _ in range(count)]
        # Of several hosts behind one name a certificate has the name alone.
        self.envoy_http_ports = [] if name else [free_port() for _ in range(count)]
        self.admin_port = free_port()
        self.replicas: dict[int, subprocess.Popen[bytes]] = {}
        self.envoy: subprocess.Popen[bytes] | None = None
        self.extra = settings

    def start(self, *_arguments: str, wait: bool = True) -> None:
        """Start all parts and wait until a request would pass."""
        for number in range(len(self.ports)):
            self.start_replica(number, wait=False)
        self.start_envoy()
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until Envoy finds every replica healthy and a check is answered."""
        wait_until(lambda: self.healthy() == len(self.replicas), 20, "healthy replicas")
        wait_until(lambda: self._answers(401), 20, "the gateway being up")

    def start_envoy(self, dns: int | None = None, **envoy: Any) -> None:
        """Start Envoy with what ``authz envoy render`` prints for all replicas.

        Args:
            dns: the port of the name server to ask, five times a second; None asks the system's.
            envoy: further keys of ``envoy``.
        """
        replicas = [f"127.0.0.1:{port}" for port in self.ports]
        settings = {
            "authz_grpc": [f"{self.name}:{self.ports[0]}"] if self.name else replicas,
            "authz_http": [
                f"127.0.0.1:{port}" for port in self.envoy_http_ports or self.http_ports
            ],
            "admin": f"127.0.0.1:{self.admin_port}",
        }
        config = self._write("gateway.yaml", 0, envoy=settings | envoy)
        render = ("envoy", "render", "-o", "envoy.yaml", "--config", config)
        done = run_in_process(self.folder, *render, environ=_environment())
        assert done.returncode == 0, done.stderr
        if dns is not None:
            _resolve_at(self.folder / "envoy.yaml", dns)
        command = [str(binary.find()), "-c", "envoy.yaml", "--log-level", "warning"]
        self.envoy = self._launch([*command, "--disable-hot-restart", "--concurrency", "2"])

    def start_replica(self, number: int, *, wait: bool = True, **authz: Any) -> None:
        """Start a replica.

        Args:
            wait: until Envoy finds it healthy.
            authz: further keys of ``authz`` for this one.
        """
        config = self._write(f"replica-{number}.yaml", number, authz=authz)
        command = [sys.executable, "-m", "authz", "serve", "--config", str(self.folder / config)]
        # As on a machine of its own: what it writes is not what Envoy reads.
        cwd = self.folder / f"replica-{number}"
        cwd.mkdir(exist_ok=True)
        self.replicas[number] = self._launch(command, cwd)
        if wait:
            wait_until(lambda: self.healthy() == len(self.replicas), 20, "healthy replicas")

    def end_replica(self, number: int, how: int = signal.SIGTERM) -> int:
        """Stop a replica and return its exit status."""
        process = self.replicas.pop(number)
        return _end(process, how)

    def end(self) -> None:
        """Stop all."""
        for process in (self.envoy, *self.replicas.values()):
            if process is not None:
                _end(process, signal.SIGKILL)

    def stats(self, prefix: str) -> dict[str, int]:
        """Return Envoy's counters and gauges with this prefix."""
        text = httpx.get(f"http://127.0.0.1:{self.admin_port}/stats").text
        pairs = (line.rsplit(": ", 1) for line in text.splitlines() if line.startswith(prefix))
        return {name.removeprefix(prefix): int(value) for name, value in pairs if value.isdigit()}

    def healthy(self) -> int:
        """Return the number of replicas that Envoy considers healthy."""
        with contextlib.suppress(httpx.HTTPError, KeyError):
            return self.stats("cluster.authz.")["membership_healthy"]
        return -1

    def status(self, token: str) -> int:
        """Ask once with a token."""
        return self._get(MODELS["anthropic"], {"x-api-key": token})

    def load(self, **options: Any) -> Load:
        """Make load with a good token and with one that was deleted."""
        good, deleted = self.create_token("alice"), self.create_token("alice")
        self.delete_token(deleted)
        return Load(self.port, {good: 200, deleted: 401}, **options)

    def _answers(self, status: int) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self._get("/", {}) == status
        return False

    def _get(self, path: str, headers: dict[str, str]) -> int:
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=60).status_code

    def _write(self, name: str, number: int, **sections: dict[str, Any]) -> str:
        authz = {
            "grpc": f"{self.hosts[number]}:{self.ports[number]}",
            "http": f"127.0.0.1:{self.http_ports[number]}",
            "tls": self.servers[number].mutual,
            "client_tls": self.client.pair,
            # A signal has to reach the process that answers checks, not one above it.
            "workers": 1,
            **self.extra.get("authz", {}),
        }
        if self.envoy_http_ports:
            authz["envoy_http"] = f"127.0.0.1:{self.envoy_http_ports[number]}"
        extra = {key: value for key, value in self.extra.items() if key != "authz"}
        settings = self.settings | extra | {"authz": authz | sections.get("authz", {})}
        if "envoy" in sections:
            settings["envoy"] = sections["envoy"]
            # Envoy trusts what it is told to, whatever a replica trusts.
            settings["authz"]["tls"] = {**authz["tls"], "ca_file": str(self.client.ca_file)}
        (self.folder / name).write_text(yaml.safe_dump(settings))
        return name

    def _launch(self, command: list[str], cwd: Path | None = None) -> subprocess.Popen[bytes]:
        with (
            (self.folder / "stdout").open("ab") as stdout,
            (self.folder / "stderr").open("ab") as stderr,
        ):
            return subprocess.Popen(
                command,
                cwd=cwd or self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )


@contextlib.contextmanager
def fleet(
    provider: Provider, count: int = 2, name: str | None = None, **settings: Any
) -> Iterator[Fleet]:
    """Run a fleet with the user alice.

    Args:
        provider: the stand-in to use.
        count: of replicas.
        name: as in ``Fleet``; nothing is started then.
        settings: top-level keys of ``gateway.yaml`` to add or replace; ``authz`` is merged.
    """
    folder = Path(tempfile.mkdtemp(prefix="fleet-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        running = Fleet(folder, provider, count, settings, name)
        running.create_user("alice")
        stack.callback(running.end)
        if name is None:
            running.start()
        yield running


def _resolve_at(envoy_config: Path, port: int) -> None:
    """Make the cluster of authz use a name server on loopback instead of the system's."""
    document = yaml.safe_load(envoy_config.read_text())
    clusters = {one["name"]: one for one in document["static_resources"]["clusters"]}
    dns = clusters["authz"]["cluster_type"]["typed_config"]
    package = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3"
    server = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    dns["dns_refresh_rate"] = "0.2s"
    dns["typed_dns_resolver_config"] = {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": f"{package}.CaresDnsResolverConfig",
            "resolvers": [server],
            "dns_resolver_options": {"no_default_search_domain": True},
        },
    }
    envoy_config.write_text(yaml.safe_dump(document))


def _end(process: subprocess.Popen[bytes], number: int) -> int:
    if process.poll() is None:
        process.send_signal(number)
        # A stopped process acts on a signal only when it goes on.
        os.kill(process.pid, signal.SIGCONT)
    return process.wait(120)
