"""HTTP clients with unusual defaults, unchanged; run by ``make test-clients``."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from bench.install import debian
from bench.world import BenchError
from tests.clients.installing import CACHE
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, Pair, free_port, wait_until
from tests.support.threaded import served

ANSWER = "Hello from the stand-in provider"
PATH = "/anthropic/v1/messages"
MESSAGES = [{"role": "user", "content": "Hello"}]
BODY = json.dumps({"model": "claude-sonnet-4-5", "max_tokens": 8, "messages": MESSAGES})
STREAM = json.dumps({**json.loads(BODY), "stream": True})
_JAVA = Path(__file__).parent / "java"
_NGINX = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr error;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{gateway}; }}
    }}
}}
"""
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def token(gateway: Pair) -> str:
    """Create a token of alice's, and forget the provider's earlier requests."""
    gateway.provider.take()
    return gateway.create_token("alice")


def _jars() -> Path:
    """Return the folder of Apache's client, fetched from Maven Central unless it is there."""
    if shutil.which("mvn") is None:
        pytest.skip("mvn is not there")
    digest = hashlib.sha256((_JAVA / "pom.xml").read_bytes()).hexdigest()[:12]
    folder = CACHE / f"java-{digest}"
    if not (folder / ".done").exists():
        command = ["mvn", "-q", "-B", "-f", str(_JAVA), "dependency:copy-dependencies"]
        subprocess.run([*command, f"-DoutputDirectory={folder}"], check=True, timeout=600)
        (folder / ".done").touch()
    return folder


def _java(program: str, class_path: Path | None, *arguments: str) -> str:
    if shutil.which("javac") is None:
        pytest.skip("a JDK is not there")
    options = [] if class_path is None else ["-cp", f"{class_path}/*"]
    command = ["java", *options, str(_JAVA / f"{program}.java"), *arguments]
    # Logging has no binding, which it says on standard error.
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _offer_of(run: Callable[[str], object]) -> str:
    """Return the ``Upgrade`` header that a client sends to a server."""
    offers: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        offers.append(dict(scope["headers"]).get(b"upgrade", b"").decode())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    with served(app) as port:
        run(f"http://127.0.0.1:{port}")
    return offers[0]


@pytest.mark.parametrize(("program", "offer"), [("Jdk", "h2c"), ("Apache", "TLS/1.2")])
def test_an_offer_to_upgrade(gateway: Pair, token: str, program: str, offer: str) -> None:
    """A Java client offers another protocol beside its request, and is served without it."""
    class_path = _jars() if program == "Apache" else None

    def run(url: str) -> str:
        return _java(program, class_path, url, token, BODY)

    assert _offer_of(run) == offer
    listed, answered = run(f"{gateway.url}/anthropic").splitlines()
    assert listed.startswith("200 "), listed
    assert answered.startswith("200 "), answered
    assert ANSWER in answered
    for seen in gateway.provider.take():
        assert seen.credential == CENTRAL_KEYS["anthropic"]
        assert seen.all("upgrade") == seen.all("http2-settings") == []


@contextmanager
def _nginx(gateway: Pair, folder: Path) -> Iterator[int]:
    """Run nginx before the gateway, as its documentation's first example has it: HTTP/1.0."""
    try:
        program = shutil.which("nginx") or debian("nginx", ["nginx"]) / "usr" / "sbin" / "nginx"
    except BenchError as error:
        pytest.skip(f"nginx is not there: {error}")
    port, config = free_port(), folder / "nginx.conf"
    # Started by root, nginx would make its worker another user, who may not use the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(user=user, folder=folder, port=port, gateway=gateway.port))
    with subprocess.Popen([program, "-p", folder, "-c", config, "-e", "stderr"]) as nginx:
        try:
            wait_until((folder / "nginx.pid").exists, 10, "nginx serving")
            yield port
        finally:
            nginx.terminate()


def _posted(port: int, token: str, body: str, version: str) -> raw.Answer:
    headers = [("x-api-key", token), ("content-type", "application/json")]
    request = raw.request("POST", PATH, headers, body.encode(), version=version)
    return raw.ask(port, request)


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "streamed"])
def test_http_1_0_behind_nginx(gateway: Pair, token: str, tmp_path: Path, body: str) -> None:
    """A gateway behind nginx's ``proxy_pass`` serves messages, streamed ones included."""
    with _nginx(gateway, tmp_path) as port:
        answer = _posted(port, token, body, "HTTP/1.1")
    _check(gateway, answer, streamed=body is STREAM)


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "streamed"])
def test_http_1_0(gateway: Pair, token: str, body: str) -> None:
    """A request in HTTP/1.0 is served, and a stream ends with the connection."""
    _check(gateway, _posted(gateway.port, token, body, "HTTP/1.0"), streamed=body is STREAM)


def _check(gateway: Pair, answer: raw.Answer, *, streamed: bool) -> None:
    assert answer.status == 200, answer.body
    assert (b"message_stop" if streamed else ANSWER.encode()) in answer.body
    (seen,) = gateway.provider.take()
    assert seen.credential == CENTRAL_KEYS["anthropic"]
