"""A Kubernetes API server on loopback, for tests that need one."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pair import free_port, wait_until

_KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters:
  - {{name: k, cluster: {{server: "https://127.0.0.1:{port}", insecure-skip-tls-verify: true}}}}
users: [{{name: a, user: {{token: token}}}}]
contexts: [{{name: k, context: {{cluster: k, user: a}}}}]
current-context: k
"""


class Kubernetes:
    """An API server.

    Attributes:
        kubeconfig: for its administrator.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def apply(self, *files: Path, dry_run: bool = False) -> str:
        """Apply files as strictly as the server can, and return what kubectl prints."""
        named = [option for file in files for option in ("-f", str(file))]
        options = ["--server-side", "--validate=strict", *(["--dry-run=server"] if dry_run else [])]
        return self.kubectl("apply", *options, *named)

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl and return its output."""
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def kubernetes(folder: Path) -> Iterator[Kubernetes]:
    """Run etcd and an API server; skip the test where they are not installed."""
    programs = {
        name: os.environ.get(f"AUTHZ_{name.upper().replace('-', '_')}") or shutil.which(name)
        for name in ("etcd", "kube-apiserver", "kubectl")
    }
    for name, program in programs.items():
        if program is None:
            pytest.skip(f"needs {name}, on PATH or in AUTHZ_{name.upper().replace('-', '_')}")
    client, peer, port = free_port(), free_port(), free_port()
    subprocess.run(["openssl", "genrsa", "-out", "sa.key", "2048"], cwd=folder, check=True)
    (folder / "tokens.csv").write_text("token,admin,admin,system:masters\n")
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(_KUBECONFIG.format(port=port))
    urls = f"http://127.0.0.1:{client}"
    etcd = [f"--listen-client-urls={urls}", f"--advertise-client-urls={urls}"]
    etcd += [f"--listen-peer-urls=http://127.0.0.1:{peer}", "--data-dir=etcd"]
    server = [f"--etcd-servers={urls}", f"--secure-port={port}", "--bind-address=127.0.0.1"]
    server += ["--service-account-issuer=https://kubernetes", "--token-auth-file=tokens.csv"]
    server += ["--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key"]
    server += ["--cert-dir=certs", "--service-cluster-ip-range=10.0.0.0/24"]
    server += ["--authorization-mode=AlwaysAllow", "--disable-admission-plugins=ServiceAccount"]
    with contextlib.ExitStack() as stack:
        for name, options in (("etcd", etcd), ("kube-apiserver", server)):
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [str(programs[name]), *options], cwd=folder, stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        running = Kubernetes(kubeconfig)

        def is_ready() -> bool:
            with contextlib.suppress(AssertionError):
                return running.kubectl("get", "--raw", "/readyz") == "ok"
            return False

        wait_until(is_ready, 60, "the API server being ready")
        yield running
