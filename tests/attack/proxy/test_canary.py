"""After a run that uses all of the proxy, each secret is only where it belongs."""

import contextlib
from pathlib import Path

import httpx
import pytest
import yaml

from authz.addresses import UnixAddress
from authz.up.admin import AdminClient
from tests.e2e.proxy.pairs import HOSTS, Proxied
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, wait_until
from tests.support.raw import Closed
from tests.support.tls import Connect, basic, connect, credentials, trusting

ANTHROPIC = HOSTS["anthropic"]


def _admin(proxied: Proxied, path: str) -> str:
    (admin,) = proxied.pair.folder.glob("admin-*.sock")
    return AdminClient(UnixAddress(str(admin)), timeout=20).get(path)


@pytest.fixture(scope="module")
def secrets(proxied: Proxied) -> dict[str, str]:
    """Secrets that may not leak, after a run with them in every place that a client can reach."""
    pair = proxied.pair
    deleted = pair.create_token("bob")
    pair.delete_token(deleted)
    token_headers = "hunter2-stray-password"
    for token in (proxied.token, deleted, token_headers):
        for authority in (f"{ANTHROPIC}:443", "127.0.0.1:443", "example.com:22"):
            with contextlib.suppress(Closed):
                connect(proxied.port, authority, credentials(token))
    for token in (proxied.token, deleted):
        for authority in (f"{token}:22", f"{token}.test:22"):
            with contextlib.suppress(Closed):
                connect(proxied.port, authority, credentials(proxied.token), host=token)
        answer = raw.ask(
            proxied.port, raw.request("GET", f"http://{token}.test/{token}", credentials(token))
        )
        assert answer.status in (403, 407)
    token = proxied.token
    held = [
        [],
        [("x-api-key", token)],
        [("x-api-key", OWN_KEYS["anthropic"])],
        [("x-coder-ai-governance-token", token), ("x-anything", token)],
        [("proxy-authorization", basic(token))],
    ]
    for headers in held:
        for path in ("/v1/models", f"/v1/models?key={token}", f"/v1/{token}"):
            with Connect(proxied.port, f"{ANTHROPIC}:443", credentials(token)) as connection:
                connection.start_tls(trusting(proxied.ca_file), ANTHROPIC)
                connection.ask(raw.request("GET", path, headers, host=ANTHROPIC))
    with httpx.Client(proxy=proxied.url, verify=trusting(proxied.ca_file)) as client:
        client.get(f"https://{ANTHROPIC}/v1/models/the-last-request")
    wait_until(lambda: "the-last-request" in pair.stdout, 5, "the access log line")
    found = {f"the central key of {name}": key for name, key in CENTRAL_KEYS.items()}
    found |= {
        "the token's secret": token.partition("-")[2],
        "the deleted token's secret": deleted.partition("-")[2],
        "the token_headers password": token_headers,
        "the token in base64": basic(token).removeprefix("Basic ")[8:-2],
        "the own key": OWN_KEYS["anthropic"],
    }
    for name, text in _private_keys(pair.folder).items():
        found[name] = text
    assert len(found) > len(CENTRAL_KEYS) + 6
    return found


def _private_keys(folder: Path) -> dict[str, str]:
    """Return one line of the CA's key and one of each leaf's."""
    found = {"the CA's key": (folder / "ca-key.pem").read_text().splitlines()[1]}
    for file in sorted(folder.glob("leaves/*/sds.yaml")):
        secret = yaml.safe_load(file.read_text())["resources"][0]
        pem = secret["tls_certificate"]["private_key"]["inline_string"]
        found[f"the key of {file.parent.name}"] = pem.splitlines()[1]
    return found


def _check(text: str, secrets: dict[str, str], where: str) -> None:
    held = [name for name, secret in secrets.items() if secret in text]
    assert held == [], f"{where} holds {', '.join(held)}"


def test_logs(proxied: Proxied, secrets: dict[str, str]) -> None:
    """Neither the access log nor the log of authz and Envoy holds a secret."""
    _check(proxied.pair.stdout, secrets, "standard output")
    _check(proxied.pair.stderr, secrets, "standard error")


@pytest.mark.parametrize(
    "path",
    [
        "/config_dump?include_eds",
        "/stats",
        "/stats/prometheus",
        "/clusters",
        "/listeners",
        "/certs",
    ],
)
def test_admin_interface(proxied: Proxied, secrets: dict[str, str], path: str) -> None:
    """Envoy's admin interface shows no secret, including the private keys of the leaves."""
    text = _admin(proxied, path)
    assert len(text) > 100
    _check(text, secrets, path)


def test_metrics(proxied: Proxied, secrets: dict[str, str]) -> None:
    """The metrics of authz hold no secret."""
    text = httpx.get(f"http://127.0.0.1:{proxied.pair.http_port}/metrics").text
    assert "authz" in text
    _check(text, secrets, "/metrics")


def test_files(proxied: Proxied, secrets: dict[str, str]) -> None:
    """A private key is only in its own file, readable by its owner alone; no file has a token."""
    places: dict[str, list[Path]] = {name: [] for name in secrets}
    for path in proxied.pair.folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("latin-1")
            for name, secret in secrets.items():
                if secret in text:
                    places[name].append(path)
    for name, files in places.items():
        if "key of" in name or name == "the CA's key":
            (file,) = files
            assert file.stat().st_mode & 0o777 == 0o600 or name.startswith("the central key")
        else:
            assert files == [], name
