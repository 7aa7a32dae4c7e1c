"""``authz providers test`` against servers that play providers, over real HTTP and TLS."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.core.providers import PROVIDER_TYPES
from tests.support.certificates import Authority
from tests.support.command import run_in_process
from tests.support.upstream_proxy import UpstreamProxy

KEY = "sk-the-key-0123456789abcdef"


class _Server(ThreadingHTTPServer):
    """A provider that answers 200 to the right key, else 401 with the key in the body.

    Attributes:
        asked: path and credential of each request.
        status: the status to answer instead.
    """

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.asked: list[tuple[str, str | None]] = []
        self.status: int | None = None


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        names = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
        given = next((f"{n}: {self.headers[n]}" for n in names if n in self.headers), None)
        self.server.asked.append((self.path, given))
        right = given is not None and given.endswith(KEY)
        body = f'{{"error": "you sent {given}"}}'.encode()
        self.send_response(self.server.status or (200 if right else 401))
        self.send_header("location", f"https://elsewhere.test/?key={KEY}")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    """A provider in clear."""
    with _served() as running:
        yield running


@contextlib.contextmanager
def _served(files: tuple[Path, Path] | None = None) -> Iterator[_Server]:
    server = _Server(_Handler)
    if files is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _run(
    folder: Path, values: dict[str, Any], *arguments: str, status: int = 0, **environ: str
) -> Any:
    """Run the command and return its rows; no key is in what it prints."""
    (folder / "gateway.yaml").write_text(yaml.safe_dump(values))
    arguments = ("providers", "test", "-o", "json", *arguments)
    done = run_in_process(folder, *arguments, environ=environ)
    assert done.returncode == status, done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def _provider(port: int, kind: str = "openai", **values: Any) -> dict[str, Any]:
    path = PROVIDER_TYPES[kind].client_prefix
    base = {"name": kind, "type": kind, "base_url": f"http://127.0.0.1:{port}{path}"}
    return {**base, "key": {"env": "KEY"}, **values}


@pytest.mark.parametrize(
    ("kind", "path", "credential"),
    [
        ("anthropic", "/v1/models?limit=1", f"x-api-key: {KEY}"),
        ("openai", "/v1/models", f"authorization: Bearer {KEY}"),
        ("openai-compat", "/v1/models", f"authorization: Bearer {KEY}"),
        ("google", "/v1/models", f"authorization: Bearer {KEY}"),
        ("openrouter", "/v1/key", f"authorization: Bearer {KEY}"),
        ("vercel", "/v1/credits", f"authorization: Bearer {KEY}"),
        ("azure", "/openai/v1/models", f"api-key: {KEY}"),
        ("gemini", "/v1beta/models?pageSize=1", f"x-goog-api-key: {KEY}"),
    ],
)
def test_every_type(tmp_path: Path, server: _Server, kind: str, path: str, credential: str) -> None:
    """Each type is asked on its cheapest path with the key in its header, and once without."""
    values = {"providers": [_provider(server.server_port, kind)]}
    (row,) = _run(tmp_path, values, KEY=KEY)
    assert (row["provider"], row["credential"], row["status"]) == (kind, "$KEY", 200)
    assert (row["ok"], row["result"]) == (True, "the key works")
    assert server.asked == [(path, credential), (path, None)]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the key: replace it"),
        (403, "lacks a permission"),
        (404, "check base_url"),
        (429, "check the account's limits"),
        (302, "does not follow: check base_url"),
        (503, "try again later"),
        (418, "check type and base_url"),
    ],
)
def test_failures(tmp_path: Path, server: _Server, status: int, said: str) -> None:
    """Any status but success fails the command and gives advice; no redirect is followed."""
    server.status = status
    values = {"providers": [_provider(server.server_port)]}
    (row,) = _run(tmp_path, values, status=1, KEY=KEY)
    assert (row["status"], row["ok"]) == (status, False)
    assert said in row["result"]
    assert len(server.asked) == 1


def test_a_provider_that_asks_for_no_key(tmp_path: Path, server: _Server) -> None:
    """If the answer is the same without a key, the result does not say that the key works."""
    server.status = 200
    (row,) = _run(tmp_path, {"providers": [_provider(server.server_port)]}, KEY=KEY)
    assert row["ok"]
    assert "the key could not be checked" in row["result"]


def test_several_keys(tmp_path: Path, server: _Server) -> None:
    """Each key of a pool has a row; one that does not work fails the command."""
    (tmp_path / "good").write_text(KEY)
    keys = [{"file": "good"}, {"env": "BAD"}, {"env": "UNSET"}]
    provider = {**_provider(server.server_port), "keys": keys}
    del provider["key"]
    rows = _run(tmp_path, {"providers": [provider]}, status=1, BAD="sk-wrong")
    assert [(row["credential"], row["status"], row["ok"]) for row in rows] == [
        ("good", 200, True),
        ("$BAD", 401, False),
        ("$UNSET", None, True),
    ]


def test_without_a_key(tmp_path: Path) -> None:
    """A provider without a central key is listed and not asked."""
    providers = [
        {"name": "a", "type": "copilot", "base_url": "http://127.0.0.1:1"},
        {**_provider(1), "name": "b"},
    ]
    rows = _run(tmp_path, {"providers": providers})
    assert [row["result"] for row in rows] == [
        "own credential only",
        "own credential only (no key: set $KEY)",
    ]


def test_chosen_by_name(tmp_path: Path, server: _Server) -> None:
    """Only the named providers are asked; the error for an unknown name suggests another."""
    values = {"providers": [_provider(server.server_port), {**_provider(1), "name": "other"}]}
    (row,) = _run(tmp_path, values, "openai", KEY=KEY)
    assert row["provider"] == "openai"
    said = _run(tmp_path, values, "opnai", KEY, status=1, KEY=KEY)
    assert said.splitlines()[0] == "authz: unknown provider opnai: did you mean openai?"
    assert said.splitlines()[1].endswith(": use one of openai, other")


def test_tls(tmp_path: Path) -> None:
    """The provider's certificate is verified, with `ca_file` where it is given."""
    authority, other = Authority(tmp_path, "good"), Authority(tmp_path, "other")
    with _served(authority.issue()) as server:
        provider = _provider(server.server_port)
        provider["base_url"] = provider["base_url"].replace("http:", "https:")
        trusted = {"providers": [{**provider, "ca_file": str(authority.ca_file)}]}
        assert _run(tmp_path, trusted, KEY=KEY)[0]["result"] == "the key works"
        asked = len(server.asked)
        for more in ({}, {"ca_file": str(other.ca_file)}):
            (row,) = _run(tmp_path, {"providers": [{**provider, **more}]}, status=1, KEY=KEY)
            assert "set ca_file if it has a private CA" in row["result"]
        assert len(server.asked) == asked


def test_no_answer(tmp_path: Path) -> None:
    """A provider that is unreachable or silent fails within the time-out."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        providers = [
            {**_provider(silent.getsockname()[1]), "name": "silent"},
            {**_provider(closed.getsockname()[1]), "name": "closed"},
            {**_provider(1), "name": "unknown", "base_url": "https://nowhere.invalid/v1"},
        ]
        rows = _run(tmp_path, {"providers": providers}, "--timeout", "0.5", status=1, KEY=KEY)
    assert [row["ok"] for row in rows] == [False] * 3
    assert rows[0]["result"].startswith("no answer within 0.5 s")
    assert "refused" in rows[1]["result"].lower()


def test_through_the_company_s_proxy(tmp_path: Path) -> None:
    """With `proxy.upstream_proxy` the provider is asked through it, as Envoy does."""
    authority = Authority(tmp_path, "good")
    with (
        _served(authority.issue("provider.test")) as server,
        UpstreamProxy({"provider.test:443": ("127.0.0.1", server.server_port)}) as upstream,
    ):
        provider = {
            **_provider(1),
            "base_url": "https://provider.test/v1",
            "ca_file": str(authority.ca_file),
        }
        proxy = {"upstream_proxy": f"http://127.0.0.1:{upstream.port}"}
        (row,) = _run(tmp_path, {"providers": [provider], "proxy": proxy}, KEY=KEY)
        assert row["result"] == "the key works"
        assert set(upstream.targets) == {"provider.test:443"}
        assert KEY.encode() not in b"".join(upstream.heads)


def test_no_proxy_of_the_environment(tmp_path: Path, server: _Server) -> None:
    """The shell's proxy gets no key: Envoy does not use it either."""
    with UpstreamProxy({}) as other:
        url = f"http://127.0.0.1:{other.port}"
        values = {"providers": [_provider(server.server_port)]}
        (row,) = _run(tmp_path, values, KEY=KEY, HTTP_PROXY=url, http_proxy=url, ALL_PROXY=url)
        assert row["ok"]
        assert other.heads == []


def test_signed_requests(tmp_path: Path, server: _Server) -> None:
    """For AWS the result says that Envoy signs, and the host and the profile are checked."""
    credentials = tmp_path / "credentials"
    aws = {"region": "us-east-1", "credentials_file": str(credentials), "profile": "mine"}
    provider = {**_provider(server.server_port, "bedrock"), "aws": aws}
    del provider["key"]
    values = {"providers": [provider]}
    (row,) = _run(tmp_path, values, status=1)
    assert "run this on Envoy's machine" in row["result"]
    for text, said in (
        (f"aws_secret_access_key={KEY}", "is not a valid file of AWS credentials"),
        ("[mine]\naws_access_key_id=A\n", "profile mine has no aws_secret_access_key"),
        (f"[default]\naws_secret_access_key={KEY}\n", "profile mine has no aws_access_key_id"),
    ):
        credentials.write_text(text)
        (row,) = _run(tmp_path, values, status=1)
        assert said in row["result"]
    assert server.asked == []
    credentials.write_text(f"[mine]\naws_access_key_id=A\naws_secret_access_key={KEY}\n")
    (row,) = _run(tmp_path, values)
    assert "Envoy signs" in row["result"]
    assert server.asked == [("/v1/models", None)]


@pytest.mark.parametrize(
    ("answered", "ok", "said"),
    [
        (200, True, "it takes no key"),
        (401, False, "replace key: none with a key"),
        (500, False, "internal error"),
    ],
)
def test_a_provider_that_takes_no_key(
    tmp_path: Path, server: _Server, answered: int, ok: bool, said: str
) -> None:
    """A provider that takes no key is asked once, without a credential."""
    server.status = answered
    values = {"providers": [_provider(server.server_port, "openai-compat", key="none")]}
    (row,) = _run(tmp_path, values, status=0 if ok else 1, KEY=KEY)
    assert (row["credential"], row["status"], row["ok"]) == (None, answered, ok)
    assert said in row["result"]
    assert server.asked == [("/v1/models", None)]
