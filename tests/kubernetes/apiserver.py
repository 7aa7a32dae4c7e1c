"""A kube-apiserver with an etcd of its own, on loopback. No controller, so no Pod ever runs."""

import contextlib
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.kubernetes.tools import program
from tests.support.ports import free_port

START_SECONDS = 120


class Kubectl:
    """kubectl as the administrator of one apiserver."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._path = program("kubectl", "kubernetes-client")

    def run(self, *arguments: str | Path, text: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command with a text as its standard input."""
        return subprocess.run(
            [self._path, "--kubeconfig", self.kubeconfig, *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    def must(self, *arguments: str | Path, text: str = "") -> str:
        """Return what a command prints.

        Raises:
            RuntimeError: it failed.
        """
        done = self.run(*arguments, text=text)
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout


@contextlib.contextmanager
def apiserver(binary: str) -> Iterator[Kubectl]:
    """Run etcd and the apiserver until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="authz-kubernetes-") as name:
        folder = Path(name)
        client, peer, port = (free_port() for _ in range(3))
        url = f"http://127.0.0.1:{client}"
        etcd: list[str | Path] = [program("etcd", "etcd-server"), "--data-dir", folder / "etcd"]
        etcd += ["--listen-client-urls", url, "--advertise-client-urls", url]
        etcd += ["--listen-peer-urls", f"http://127.0.0.1:{peer}"]
        kubectl = Kubectl(_kubeconfig(folder, port))
        log = folder / "apiserver.log"
        with (
            _running(folder / "etcd.log", etcd),
            _running(log, _command(binary, folder, url, port)) as server,
        ):
            _wait(kubectl, server, log)
            yield kubectl


def _command(binary: str, folder: Path, etcd: str, port: int) -> list[str | Path]:
    key = folder / "accounts.pem"
    openssl = program("openssl", "openssl")
    subprocess.run([openssl, "genrsa", "-out", key], check=True, capture_output=True)
    return [
        binary,
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        # Written to the Service `kubernetes`, where loopback is refused. It is nobody's address.
        "--advertise-address=192.0.2.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certificates'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/24",
    ]


def _kubeconfig(folder: Path, port: int) -> Path:
    """Write the administrator's token for both sides, and return kubectl's file."""
    token = secrets.token_hex(32)
    tokens = folder / "tokens.csv"
    tokens.touch(0o600)
    tokens.write_text(f"{token},admin,1,system:masters\n")
    cluster = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority": str(folder / "certificates" / "apiserver.crt"),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
        "current-context": "here",
    }
    path = folder / "kubeconfig"
    path.touch(0o600)
    path.write_text(yaml.safe_dump(document))
    return path


@contextlib.contextmanager
def _running(log: Path, command: list[str | Path]) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(kubectl: Kubectl, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while kubectl.run("get", "--raw", "/readyz").returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"kube-apiserver is not ready: {log.read_text()[-2000:]}")
        time.sleep(0.5)
