"""Clients in Node through the proxy."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from authz.files import write_whole
from tests.e2e.proxy.pairs import Proxied
from tests.support.pair import CENTRAL_KEYS

PACKAGES = ("undici@7.16.0", "https-proxy-agent@7.0.6")
SCRIPT = Path(__file__).with_name("client.mjs")


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder with the packages, kept between runs."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not on this machine")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "authz-tests" / "-".join(PACKAGES).replace("@", "-")
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, *PACKAGES],
            check=True,
            capture_output=True,
            timeout=90,
        )
        (folder / "done").touch()
    return folder


@pytest.mark.parametrize("kind", ["http", "https"])
def test_node(node_folder: Path, request: pytest.FixtureRequest, kind: str) -> None:
    """Fetch of undici and https-proxy-agent reach the provider, whole answers and streams."""
    proxy: Proxied = request.getfixturevalue("proxied" if kind == "http" else "proxied_tls")
    proxy.provider.take()
    bundle = node_folder / f"ca-{proxy.port}.pem"
    trusted = [proxy.ca_file, *([proxy.listener_ca] if proxy.listener_ca else [])]
    bundle.write_text("".join(file.read_text() for file in trusted))
    # Node looks for packages beside the script.
    script = node_folder / SCRIPT.name
    # Another test run may be reading it.
    write_whole(script, SCRIPT.read_text())
    result = subprocess.run(
        ["node", script],
        env={
            "PATH": os.environ["PATH"],
            "HTTPS_PROXY": proxy.url,
            "NODE_EXTRA_CA_CERTS": str(bundle),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    bundle.unlink()
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout)
    assert {name: answer["status"] for name, answer in answers.items()} == {
        "undici": 200,
        "undiciStream": 200,
        "https": 200,
        "httpsStream": 200,
    }
    assert "message_stop" in answers["undiciStream"]["text"]
    assert "message_stop" in answers["httpsStream"]["text"]
    for name in ("undici", "https"):
        assert json.loads(answers[name]["text"])["type"] == "message"
    visits = proxy.provider.take()
    assert len(visits) == 4
    assert all(visit.all("x-api-key") == [CENTRAL_KEYS["anthropic"]] for visit in visits)
