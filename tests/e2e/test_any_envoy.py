"""A hand-written Envoy, configured as deploy/any-envoy.yaml says."""

import contextlib
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.envoy.access_logs import USAGE_FIELDS
from authz.manifests.log_format import LOG_FIELDS
from tests.support import raw
from tests.support.external_envoys import ExternalGateways, external_gateways
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, Provider, wait_until
from tests.support.parts import parts
from tests.support.raw import Answer, Headers

FILE = Path(__file__).parents[2] / "deploy" / "any-envoy.yaml"
SECRET = "any-envoy-0123456789abcdef0123456789"
MESSAGES = "/anthropic/v1/messages"
BODY = b'{"model":"claude-sonnet-4-5","max_tokens":8,"messages":[{"role":"user","content":"Hi"}]}'


def _config(secret: str) -> str:
    """Return the file with the tests' ports, which ``ExternalGateways.add`` replaces."""
    config: Any = yaml.safe_load(FILE.read_text().replace("secret: SECRET", f"secret: {secret}"))
    clusters = {one["name"]: one for one in config["static_resources"]["clusters"]}
    del clusters["anthropic"]["transport_socket"]
    for name, port in (("authz", 33002), ("anthropic", 33100)):
        (endpoint,) = clusters[name]["load_assignment"]["endpoints"][0]["lb_endpoints"]
        place = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        endpoint["endpoint"]["address"] = place
    (listener,) = config["static_resources"]["listeners"]
    listener["address"]["socket_address"]["port_value"] = 33080
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    # The stand-in has all providers on one port.
    manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["prefix_rewrite"] = (
        "/anthropic/"
    )
    return yaml.safe_dump(config)


@pytest.fixture(scope="module")
def running(
    provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExternalGateways]:
    """The Envoy of the file."""
    file = tmp_path_factory.mktemp("secret") / "secret"
    file.write_text(SECRET)
    external = {"secret": {"file": str(file)}}
    configs = {"any": (_config(SECRET), None)}
    with external_gateways(provider, configs, external_gateways=external) as started:
        yield started


@pytest.fixture(scope="module")
def token(running: ExternalGateways) -> str:
    """A valid token of alice's."""
    return running.create_token("alice")


def _send(
    running: ExternalGateways, headers: Headers, path: str = MESSAGES, name: str = "any"
) -> Answer:
    data = raw.request("POST", path, headers, BODY)
    return raw.ask(running.ports[name], data, timeout=30)


def test_credentials(running: ExternalGateways, token: str) -> None:
    """The provider gets the central key or the own key, and never a Coder token."""
    running.provider.take()
    own = OWN_KEYS["anthropic"]
    for headers, key in (
        ([("x-api-key", token)], CENTRAL_KEYS["anthropic"]),
        ([("x-coder-ai-governance-token", token), ("x-api-key", own)], own),
    ):
        assert _send(running, headers).status == 200
        (visit,) = running.provider.take()
        assert visit.path == "/v1/messages"
        assert visit.all("x-api-key") == [key]
        assert token.partition("-")[2] not in str(visit.headers)


def test_revoked_tokens_and_paths(running: ExternalGateways, token: str) -> None:
    """A deleted token is refused at once, and only listed paths are served."""
    running.provider.take()
    other = running.create_token("bob")
    assert _send(running, [("x-api-key", other)]).status == 200
    running.delete_token(other)
    running.provider.take()
    assert _send(running, [("x-api-key", other)]).status == 401
    assert _send(running, []).status == 401
    assert _send(running, [("x-api-key", token), ("X-Api-Key", token)]).status == 400
    for path in ("/anthropic/v1/files", "/anthropic/v1/messages/../files", "/v1/messages"):
        assert _send(running, [("x-api-key", token)], path).status == 404
    assert (
        _send(running, [("x-api-key", token)], "/anthropic/v1/messages%2f..%2ffiles").status == 400
    )
    assert running.provider.take() == []


def test_usage(running: ExternalGateways) -> None:
    """The tokens of a request are counted for its user, as with our own Envoy."""
    token = running.create_token("bob")
    assert _send(running, [("x-api-key", token)]).status == 200

    def rows() -> list[tuple[Any, ...]]:
        # authz creates the table with its first row.
        with (
            contextlib.suppress(sqlite3.OperationalError),
            sqlite3.connect(running.folder / "identity.db") as database,
        ):
            return database.execute(
                "SELECT provider, mode, status, usage, input_tokens > 0, output_tokens > 0"
                " FROM usage_entries WHERE username = 'bob' AND usage <> 'unreported'"
                " AND token_id = ?",
                (token[:10],),
            ).fetchall()
        return []

    wait_until(lambda: rows() == [("anthropic", "centralized", 200, "complete", 1, 1)], 30, "a row")


def test_another_secret(running: ExternalGateways, token: str) -> None:
    """An Envoy without the secret gets a 503 for every request, and never a key."""
    running.provider.take()
    running.add("wrong", _config(SECRET[::-1]))
    wait_until(lambda: _is(running, "wrong", 503), 20, "the Envoy being up")
    answer = _send(running, [("x-api-key", token)], name="wrong")
    assert (answer.status, answer.error["type"]) == (503, "api_error")
    assert "without the secret" in running.stderr
    assert running.provider.take() == []
    del running.ports["wrong"]


def test_without_authz(running: ExternalGateways, token: str) -> None:
    """While authz is down each request is a 503."""
    running.provider.take()
    running.end_authz(signal.SIGKILL)
    assert _send(running, [("x-api-key", token)]).status == 503
    assert running.provider.take() == []
    running.start_authz()


def test_the_log_is_that_of_the_manifests() -> None:
    """The file sets the fields of the printed manifests, and those for tokens."""
    config = yaml.safe_load(FILE.read_text())
    (listener,) = config["static_resources"]["listeners"]
    (log,) = listener["filter_chains"][0]["filters"][0]["typed_config"]["access_log"]
    values = log["typed_config"]["attributes"]["values"]
    fields = {one["key"]: one["value"]["string_value"] for one in values}
    assert fields.items() >= LOG_FIELDS.items()
    usage = {name: USAGE_FIELDS[name] for name in fields.keys() - LOG_FIELDS.keys()}
    assert fields.items() >= usage.items()
    assert usage.keys() == USAGE_FIELDS.keys() - {"content_encoding"}


def _is(running: ExternalGateways, name: str, status: int) -> bool:
    with contextlib.suppress(OSError, raw.Closed):
        return _send(running, [], name=name).status == status
    return False


def test_the_own_envoy_beside_it(provider: Provider, tmp_path: Path) -> None:
    """The project's own Envoy is metered as usual if other gateways use the same authz."""
    (tmp_path / "secret").write_text("own-envoy-0123456789abcdef0123456789")
    external = {
        "routes": [{"httproute": "a/b", "path": "/anthropic", "provider": "anthropic"}],
        "envoy_secret": {"file": str(tmp_path / "secret")},
    }
    with parts(provider, external_gateways=external) as own:
        token = own.create_token("alice")
        data = raw.request("POST", MESSAGES, [("x-api-key", token)], BODY)
        assert raw.ask(own.port, data, timeout=30).status == 200
        wait_until(lambda: "alice" in own.command("usage", check=False).stdout, 30, "the row")
        (line,) = (
            one.split() for one in own.command("usage").stdout.splitlines() if "alice" in one
        )
        assert (line[1], line[-1]) == ("1", "0")
        assert "record dropped" not in own.stderr
