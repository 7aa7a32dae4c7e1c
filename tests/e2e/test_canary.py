"""After a run with every kind of request, each secret is only where it belongs."""

import base64
import contextlib
import hashlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from authz.addresses import UnixAddress
from authz.up.admin import AdminClient
from tests.support import raw
from tests.support.collector import Collector, collector
from tests.support.pair import (
    CENTRAL_KEYS,
    OWN_KEYS,
    SUBSCRIPTION,
    Pair,
    Provider,
    free_port,
    pair,
    wait_until,
)
from tests.support.processes import running_in
from tests.support.spellings import spellings

BODY = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 8,
    "messages": [{"role": "user", "content": "Hello"}],
}
GOVERNANCE = "x-coder-ai-governance-token"
STRAY_KEY = "sk-stray-4f6a8c0e2b4d"
PASSWORD = "correct-horse-3b1e7d9f"
SAID = "prompt-canary-7d9f1b3e"
ODD_HEADERS = (
    *("host", "user-agent", "referer", "origin", "accept-language", "x-request-id"),
    *("traceparent", "tracestate", "baggage", "x-client-trace-id", "x-b3-traceid"),
    *("x-forwarded-for", "x-envoy-original-path", "x-envoy-force-trace", "forwarded", "via"),
    *("x-envoy-downstream-service-cluster", "x-envoy-decorator-operation"),
)
PATHS = {
    "anthropic": "/anthropic/v1/messages",
    "openai": "/openai/v1/chat/completions",
    "chatgpt": "/chatgpt/v1/responses",
    "copilot": "/copilot/chat/completions",
    "nobody": "/nobody/v1/messages",
}


@dataclass
class Run:
    """A pair that has served every kind of request.

    Attributes:
        secrets: what may be nowhere, by what it is.
        collected: the spans of all that.
        metrics_port: of Envoy.
        answers: the refusals that clients got, as bytes.
    """

    pair: Pair
    secrets: dict[str, str]
    collected: Collector
    metrics_port: int
    answers: list[bytes] = field(default_factory=list)

    def check(self, text: str | bytes, where: str) -> None:
        """Assert that a text holds no secret, encoded or not, nor half a token."""
        data = text.encode() if isinstance(text, str) else text
        held = [
            name
            for name, secret in self.secrets.items()
            if any(one in data for one in spellings(secret, halves=name.endswith("token's secret")))
        ]
        assert held == [], f"{where} holds {', '.join(held)}"


@pytest.fixture(scope="module")
def run(provider: Provider) -> Iterator[Run]:
    """The pair after the run, still running."""
    metrics_port = free_port()
    with (
        collector() as collected,
        pair(
            provider,
            start=False,
            log={"level": "debug", "format": "json"},
            tracing={"otlp": collected.url, "sample": 1},
            usage={"metrics_by_user": True},
        ) as running,
    ):
        running.settings["envoy"]["metrics"] = f"127.0.0.1:{metrics_port}"
        running.start()
        first = running.first_token
        running.create_user("alice")
        good = running.create_token("alice")
        deleted = running.create_token("alice")
        running.delete_token(deleted)
        secrets = {f"the central key of {name}": key for name, key in CENTRAL_KEYS.items()}
        secrets |= {f"the own key for {name}": key for name, key in OWN_KEYS.items()}
        secrets |= {
            "the subscription": SUBSCRIPTION,
            "the good token's secret": good.partition("-")[2],
            "the deleted token's secret": deleted.partition("-")[2],
            "a key in the wrong place": STRAY_KEY,
            "a prompt": SAID,
            "a password": PASSWORD,
        }
        done = Run(running, secrets, collected, metrics_port)
        for token in (good, deleted, first):
            _ask_everything(done, token)
        for token in (good, deleted):
            _ask_oddly(done, token)
        _faults(done, good)
        mark = "the-last-request"
        httpx.get(f"{running.url}/{mark}")
        wait_until(lambda: mark in running.stdout, 5, "the access log line")
        yield done


def _ask_everything(run: Run, token: str) -> None:
    credentials = [
        {"x-api-key": token},
        {"authorization": f"Bearer {token}"},
        {"authorization": f"Basic {token}"},
        {GOVERNANCE: token},
        {GOVERNANCE: token, "x-api-key": OWN_KEYS["anthropic"]},
        {GOVERNANCE: token, "x-api-key": token},
        {GOVERNANCE: token, "authorization": f"Bearer {token}"},
        {GOVERNANCE: token, "x-api-key": STRAY_KEY},
        {"x-api-key": token, "cookie": token, "x-other": token, "api-key": STRAY_KEY},
        {"x-api-key": STRAY_KEY, "authorization": f"Bearer {token}"},
        {"x-api-key": token + "x"},
        *({GOVERNANCE: token, "authorization": f"Bearer {own}"} for own in OWN_KEYS.values()),
        {GOVERNANCE: token, "authorization": f"Bearer {SUBSCRIPTION}"},
    ]
    body = {**BODY, "messages": [{"role": "user", "content": SAID}]}
    with httpx.Client(base_url=run.pair.url) as client:
        for path in PATHS.values():
            for headers in credentials:
                answer = client.post(path, headers=headers, json=body)
                if answer.status_code != 200:
                    run.answers.append(_whole(answer))
        for model in ("fail-400", "fail-429", "fail-500", "fail-529"):
            answer = client.post(
                PATHS["anthropic"], headers=credentials[0], json={**BODY, "model": model}
            )
            run.answers.append(_whole(answer))
    for data in (
        raw.request("GET", f"/anthropic/v1/models?key={token}", [("x-api-key", token)]),
        raw.request(
            "GET", "/anthropic/v1/models", [("x-api-key", token), ("x-api-key", STRAY_KEY)]
        ),
        raw.request("GET", "/anthropic/v1/models", [("x-api-key", f"{token}\xe9")]),
        raw.request("GET", "/anthropic/v1/models", [("x_api_key", token)]),
        raw.request("GET", "/anthropic/v1/models", [("x-api-key", f"{token}\x00")]),
        raw.request("GET", "/anthropic%2f", [("x-api-key", token)]),
        raw.request("GET", "/anthropic/v1/models", [("x-api-key", token)], version="HTTP/1.0"),
        raw.request(
            "GET", "/x", [("x-api-key", token), ("upgrade", "x"), ("connection", "upgrade")]
        ),
        raw.request("GET", "/x", [("x-api-key", token), ("x-big", "a" * 70_000)]),
    ):
        run.answers.append(raw.ask(run.pair.port, data).whole)


def _ask_oddly(run: Run, token: str) -> None:
    """Send a token and a password in wrong places: paths, queries and headers of any kind."""
    encoded = "".join(f"%{ord(letter):02X}" for letter in token)
    paths = [
        f"/{token}",
        f"/anthropic/{token}",
        f"/anthropic/v1/messages/{token}",
        f"/openai/v1/responses/{encoded}",
        f"/{encoded}/v1/messages",
        *(
            f"/anthropic/v1/messages?{name}={value}"
            for name in ("key", "password", "api_key", "access_token", token)
            for value in (token, PASSWORD, encoded)
        ),
    ]
    odd = dict.fromkeys(ODD_HEADERS, token)
    basic = base64.b64encode(f"{token}:{PASSWORD}".encode()).decode()
    with httpx.Client(base_url=run.pair.url) as client:
        for path in paths:
            for headers in (
                {"x-api-key": token},
                odd,
                {"x-api-key": token, "user-agent": token, "x-password": PASSWORD},
                {"authorization": f"Basic {basic}", "proxy-authorization": f"Basic {basic}"},
            ):
                answer = client.post(path, headers=headers, json=BODY)
                if answer.status_code != 200:
                    run.answers.append(_whole(answer))


def _faults(run: Run, token: str) -> None:
    """Cause each kind of 503: authz stopped, and its database gone."""
    authz = run.pair.children()["authz"]
    headers = {"x-api-key": token}
    database = run.pair.folder / "identity.db"
    away = run.pair.folder / "away.db"

    def ask() -> httpx.Response:
        return httpx.get(f"{run.pair.url}/openai/v1/models", headers=headers, timeout=60)

    os.kill(authz, signal.SIGSTOP)
    try:
        run.answers.append(_whole(ask()))
    finally:
        os.kill(authz, signal.SIGCONT)
    database.rename(away)
    try:
        run.answers.append(_whole(ask()))
    finally:
        away.rename(database)


def _whole(answer: httpx.Response) -> bytes:
    return b"\n".join(
        [*(name + b": " + value for name, value in answer.headers.raw), answer.content]
    )


def _admin(run: Run, path: str) -> str:
    return AdminClient(
        UnixAddress(f"{run.pair.folder}/admin-{run.pair.port}.sock"), timeout=20
    ).get(path)


def test_answers(run: Run) -> None:
    """No refusal of authz, Envoy or the provider repeats a secret."""
    assert len(run.answers) > 100
    assert {b"503" in answer or b"identity_unavailable" in answer for answer in run.answers} == {
        True,
        False,
    }
    for answer in run.answers:
        run.check(answer, "an answer")


def test_standard_output(run: Run) -> None:
    """The banner and the access log contain no secret, including the first token."""
    text = run.pair.stdout
    assert text.count("export CODER_TOKEN=") == 1
    assert '"user":"alice"' in text
    assert run.pair.first_token.partition("-")[2] not in text
    run.check(text, "standard output")


def test_standard_error(run: Run) -> None:
    """Authz's log and Envoy's warnings contain no secret."""
    text = run.pair.stderr
    assert "request refused" in text
    assert run.pair.first_token not in text
    run.check(text, "standard error")


@pytest.mark.parametrize(
    "path", ["/stats", "/stats/prometheus", "/config_dump?include_eds", "/clusters", "/server_info"]
)
def test_admin(run: Run, path: str) -> None:
    """Envoy's admin interface contains no secret."""
    text = _admin(run, path)
    assert len(text) > 500
    run.check(text, path)


def test_metrics(run: Run) -> None:
    """Neither authz's metrics nor Envoy's, which include users here, contain a secret."""

    def of_authz() -> str:
        return httpx.get(f"http://127.0.0.1:{run.pair.http_port}/metrics").text

    # It comes with the record of the request.
    wait_until(lambda: 'user="alice"' in of_authz(), what="the user")
    authz = of_authz()
    envoy = httpx.get(f"http://127.0.0.1:{run.metrics_port}/stats/prometheus").text
    assert "envoy_http_downstream_rq_xx" in envoy
    run.check(authz, "authz's metrics")
    run.check(envoy, "Envoy's metrics")


def test_spans(run: Run) -> None:
    """No attribute of a span contains a secret, and every request has spans."""
    collected = run.collected

    def are_there() -> bool:
        # Envoy and authz send theirs apart, each in batches.
        services = {span.service for span in collected.spans}
        return len(collected.spans) > 500 and services == {"envoy", "authz"}

    wait_until(are_there, 15, "the spans of both being there")
    for request in list(collected.requests):
        run.check(request.SerializeToString(), "a span")


def test_database(run: Run) -> None:
    """No row of the database contains a secret, including recorded requests."""
    with contextlib.closing(sqlite3.connect(run.pair.folder / "identity.db")) as database:
        dump = "\n".join(database.iterdump())
    assert "usage" in dump
    assert "alice" in dump
    run.check(dump, "the database")


def test_rendered_configuration(run: Run) -> None:
    """The output of `authz envoy render` contains no secret."""
    text = run.pair.command("envoy", "render").stdout
    assert "static_resources" in text
    run.check(text, "Envoy's configuration")


def test_command_lines(run: Run) -> None:
    """The command lines of the three processes, which every user can list, contain no secret."""
    commands = running_in(run.pair.folder)
    assert len(commands) == 3
    for command in commands.values():
        run.check(command, "a command line")


def test_environment_of_envoy(run: Run) -> None:
    """Envoy's environment contains no secret."""
    envoy = run.pair.children()["envoy"]
    run.check(Path(f"/proc/{envoy}/environ").read_bytes(), "Envoy's environment")


def test_files(run: Run) -> None:
    """No file in the pair's folder contains a secret, except the key files."""
    names = set()
    for file in run.pair.folder.rglob("*"):
        if not file.is_file() or file.suffix == ".key":
            continue
        names.add(file.name)
        run.check(file.read_bytes(), file.name)
    assert {"gateway.yaml", "bootstrap.json", "identity.db", "stderr"} <= names


def test_database_keeps_hashes(run: Run) -> None:
    """The database holds the hash of the first token's secret, and not the secret."""
    secret = run.pair.first_token.partition("-")[2]
    data = b"".join(file.read_bytes() for file in run.pair.folder.glob("identity.db*"))
    assert hashlib.sha256(secret.encode()).digest() in data
    assert secret.encode() not in data


def test_secret_files_are_private(run: Run) -> None:
    """Only the owner can read the database and connect to the pair's socket."""
    for pattern in ("identity.db*", "authz.sock"):
        files = list(run.pair.folder.glob(pattern))
        assert files
        for file in files:
            assert file.stat().st_mode & 0o077 == 0, file.name


def test_admin_socket_is_private(run: Run) -> None:
    """Only the owner can connect to Envoy's admin socket, as that needs write permission."""
    (file,) = run.pair.folder.glob("admin-*.sock")
    assert file.stat().st_mode & 0o022 == 0
