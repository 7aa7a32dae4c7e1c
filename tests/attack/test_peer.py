"""The source address of a request: only Envoy may set it, and no client that bypasses Envoy."""

import json
import stat
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.support.pair import Pair, Provider, pair

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module", params=[1, 2])
def running(request: pytest.FixtureRequest, provider: Provider) -> Iterator[Pair]:
    """A pair with one worker and with two, and alice who has a password."""
    with pair(provider, start=False) as stopped:
        stopped.settings["authz"]["workers"] = request.param
        stopped.start()
        stopped.create_user("alice")
        subprocess.run(
            [sys.executable, "-m", "authz", "users", "password", "alice"],
            cwd=stopped.folder,
            input=f"{PASSWORD}\n".encode(),
            check=True,
            capture_output=True,
        )
        yield stopped


def _sign_in(url: str, name: str, password: str, peer: str) -> int:
    body = {"email": name, "password": password}
    headers = {"x-authz-peer": peer, "x-forwarded-for": peer, "forwarded": f"for={peer}"}
    return httpx.post(
        f"{url}/api/v2/users/login", json=body, headers=headers, timeout=60
    ).status_code


def test_the_audit_log_has_no_invented_address(running: Pair) -> None:
    """The audit log has the address of the connection, through Envoy and when bypassing it."""
    for url in (running.url, f"http://127.0.0.1:{running.http_port}"):
        assert _sign_in(url, "alice", PASSWORD, "192.0.2.66") == 201
    log = running.command("audit", "--user", "alice", "-o", "json").stdout
    assert "192.0.2.66" not in log
    entries = [json.loads(line) for line in log.splitlines()] if log[0] != "[" else json.loads(log)
    assert [entry["ip"] for entry in entries if entry["action"] == "login"][-2:] == [
        "127.0.0.1"
    ] * 2


def test_envoys_socket_is_for_this_user_alone(running: Pair) -> None:
    """Envoy reaches the HTTP side over a Unix socket that other users can't connect to."""
    path = running.folder / "authz-http.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport) as client:
        assert client.get("http://authz/healthz").status_code == 200
