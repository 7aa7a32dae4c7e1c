"""A real Keycloak from Maven Central, with a realm as docs/sign-in.md describes it."""

import contextlib
import hashlib
import os
import shutil
import signal
import ssl
import subprocess
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.installing import CACHE
from tests.support.openid import CLIENT_ID, CLIENT_SECRET
from tests.support.pair import free_port

VERSION = "26.7.3"
_NAME = "keycloak-quarkus-dist"
_URL = f"https://repo.maven.apache.org/maven2/org/keycloak/{_NAME}/{VERSION}/{_NAME}-{VERSION}.zip"
_SHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
_REALM = "acme"
_ADMIN = "admin"
_START_SECONDS = 300


@dataclass
class Keycloak:
    """The provider, with the methods of ``OpenIdProvider``.

    Attributes:
        issuer: the URL of the realm.
        admin: client of the Admin REST API, below the realm.
    """

    issuer: str
    admin: httpx.Client
    _subjects: dict[str, str] = field(default_factory=dict)
    _logins: dict[str, str] = field(default_factory=dict)

    def subject(self, account: str) -> str:
        """Return the subject of an account, which Keycloak chose."""
        return self._subjects[account]

    def login(self, account: str) -> str:
        """Return the name to sign in with."""
        return self._logins[account]

    def set_account(self, account: str, /, **claims: Any) -> None:
        """Create or change the user who has these claims; the password is always the same."""
        first, _, last = str(claims.get("name", f"Test {account}")).partition(" ")
        login = claims.get("preferred_username", account)
        user = {
            "username": login,
            "firstName": first,
            "lastName": last.strip(),
            "email": claims.get("email", f"{account}@users.test"),
            "emailVerified": claims.get("email_verified", False),
            "enabled": True,
            "credentials": [{"type": "password", "value": "any", "temporary": False}],
        }
        self._logins[account] = login
        if account in self._subjects:
            self._call("PUT", f"/users/{self._subjects[account]}", user)
        else:
            made = self._call("POST", "/users", user)
            self._subjects[account] = made.headers["location"].rpartition("/")[2]
        self._set_groups(self._subjects[account], set(claims.get("groups", ())))

    def _set_groups(self, user_id: str, wanted: set[str]) -> None:
        known = {one["name"]: one["id"] for one in self._call("GET", "/groups").json()}
        for name in wanted - known.keys():
            made = self._call("POST", "/groups", {"name": name})
            known[name] = made.headers["location"].rpartition("/")[2]
        for name, group_id in known.items():
            method = "PUT" if name in wanted else "DELETE"
            self._call(method, f"/users/{user_id}/groups/{group_id}")

    def _call(self, method: str, path: str, body: object = None) -> httpx.Response:
        answer = self.admin.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer


@contextlib.contextmanager
def keycloak(
    certificate: tuple[Path, Path], ca_file: Path, origin: str, log: Path
) -> Iterator[Keycloak]:
    """Run Keycloak until the block ends. The test skips without Java or Maven Central.

    Args:
        certificate: PEM files of the chain and its key, valid for 127.0.0.1.
        ca_file: the CA of the certificate.
        origin: of the gateway.
        log: file for Keycloak's output.
    """
    if shutil.which("java") is None:
        pytest.skip("Keycloak needs Java (Debian: apt install default-jre-headless)")
    home, port = _installed(), free_port()
    url = f"https://127.0.0.1:{port}"
    # fmt: off
    command = [
        str(home / "bin/kc.sh"), "start-dev", "--db=dev-mem", f"--https-port={port}",
        f"--http-port={free_port()}", "--http-host=127.0.0.1", f"--hostname={url}",
        f"--https-certificate-file={certificate[0]}",
        f"--https-certificate-key-file={certificate[1]}",
    ]
    # fmt: on
    environ = {
        **os.environ,
        "KC_BOOTSTRAP_ADMIN_USERNAME": _ADMIN,
        "KC_BOOTSTRAP_ADMIN_PASSWORD": _ADMIN,
        "KC_HEALTH_ENABLED": "false",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environ, stdout=output, stderr=output, start_new_session=True
        )
    context = ssl.create_default_context(cafile=ca_file)
    try:
        with httpx.Client(base_url=url, verify=context, timeout=60) as client:
            _wait(client, process, log)
            _sign_in(client, url)
            answer = client.post("/admin/realms", json=_realm(origin))
            assert answer.status_code == 201, answer.text
            client.base_url = httpx.URL(f"{url}/admin/realms/{_REALM}")
            yield Keycloak(f"{url}/realms/{_REALM}", client)
    finally:
        # kc.sh starts Java as its child.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _realm(origin: str) -> dict[str, Any]:
    """Return the realm, with the client of the gateway."""
    groups = {
        "name": "groups",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-group-membership-mapper",
        "config": {
            "claim.name": "groups",
            "full.path": "false",
            "id.token.claim": "true",
            "userinfo.token.claim": "true",
        },
    }
    client = {
        "clientId": CLIENT_ID,
        "secret": CLIENT_SECRET,
        "protocol": "openid-connect",
        "publicClient": False,
        "standardFlowEnabled": True,
        "redirectUris": [f"{origin}/ui/sign-in/company/callback"],
        "attributes": {
            "pkce.code.challenge.method": "S256",
            "post.logout.redirect.uris": f"{origin}/ui/sign-in",
        },
        "protocolMappers": [groups],
    }
    return {
        "realm": _REALM,
        "enabled": True,
        # The tests rename people.
        "editUsernameAllowed": True,
        "clients": [client],
        # The Admin API's token lives for a minute otherwise.
        "accessTokenLifespan": 300,
    }


def _sign_in(client: httpx.Client, url: str) -> None:
    """Let the client act as the administrator, with a new token for each call."""
    form = {
        "grant_type": "password",
        "client_id": "admin-cli",
        "username": _ADMIN,
        "password": _ADMIN,
    }
    endpoint = f"{url}/realms/master/protocol/openid-connect/token"

    def authorize(request: httpx.Request) -> None:
        if request.url.path.startswith("/admin/"):
            answer = client.post(endpoint, data=form)
            assert answer.status_code == 200, answer.text
            request.headers["authorization"] = f"Bearer {answer.json()['access_token']}"

    client.event_hooks = {"request": [authorize]}


def _wait(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/realms/master").status_code == 200:
                return
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < ends, log.read_text()[-3000:]
        time.sleep(1)


def _installed() -> Path:
    """Return the folder of Keycloak, downloaded unless it is there already."""
    home = CACHE / f"keycloak-{VERSION}"
    if (home / ".done").exists():
        return home
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / f"keycloak-{VERSION}.zip"
    try:
        with archive.open("wb") as file, httpx.stream("GET", _URL, timeout=60) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_bytes(1 << 20):
                file.write(chunk)
    except httpx.HTTPError as error:
        archive.unlink()
        pytest.skip(f"Maven Central does not answer: {type(error).__name__}")
    with archive.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == _SHA256
    shutil.rmtree(home, ignore_errors=True)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(CACHE)
    archive.unlink()
    (home / "bin/kc.sh").chmod(0o755)
    (home / ".done").touch()
    return home
