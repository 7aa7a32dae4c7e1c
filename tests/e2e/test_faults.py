"""Failures of a part, as clients see them: 503 in time, never a pass, automatic recovery."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import httpx
import pytest

from authz.addresses import UnixAddress
from authz.check.ext_authz import METHOD
from authz.envoy.filters import CHECK_SECONDS
from authz.transport.common import UnaryMethod
from authz.transport.grpcio_server import GrpcServer
from tests.support.pair import BUSY, Provider, free_port, wait_until
from tests.support.parts import Parts, parts, unix_listener

LIMIT_SECONDS = BUSY * CHECK_SECONDS
"""A check gets two seconds with all its tries; timers are late on a busy machine."""
PATHS = {
    "anthropic": "/anthropic/v1/messages",
    "openai": "/api/v2/ai-gateway/openai/v1/chat/completions",
    "unknown": "/nobody/v1/messages",
}
BODY = {
    "model": "any",
    "max_tokens": 8,
    "messages": [{"role": "user", "content": "Hello"}],
}


@pytest.fixture(scope="module")
def running(provider: Provider) -> Iterator[Parts]:
    """Authz and Envoy, apart."""
    with parts(provider) as started:
        yield started


@pytest.fixture(scope="module")
def token(running: Parts) -> str:
    """A valid token of alice's."""
    return running.create_token("alice")


@pytest.fixture
def pair(running: Parts, token: str) -> Iterator[Parts]:
    """The two parts; after the test they are restored, and serve again."""
    running.provider.take()
    yield running
    if running.authz is None or running.authz.poll() is not None:
        running.start_authz()
    _recovers(running, token)


def _post(pair: Parts, token: str, path: str = PATHS["anthropic"]) -> httpx.Response:
    return httpx.post(f"{pair.url}{path}", headers={"x-api-key": token}, json=BODY, timeout=60)


def _unavailable(pair: Parts, token: str, path: str = PATHS["anthropic"]) -> httpx.Response:
    """Assert that a request with a good token gets the right 503 in time and nothing passes."""
    started = time.monotonic()
    answer = _post(pair, token, path)
    took = time.monotonic() - started
    assert answer.status_code == 503, answer.text
    assert took < LIMIT_SECONDS
    assert answer.headers["content-type"] == "application/json"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    error = answer.json()["error"]
    assert error["type"] == "api_error"
    assert "try again" in error["message"].lower()
    assert pair.provider.take() == []
    return answer


def _recovers(pair: Parts, token: str) -> None:
    """Assert that a good request passes again soon, through the same Envoy."""
    assert pair.envoy is not None
    assert pair.envoy.poll() is None
    wait_until(lambda: _post(pair, token).status_code == 200, 5, "recovery")
    pair.provider.take()


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_authz_killed(pair: Parts, token: str, path: str) -> None:
    """Without authz every request is 503 at once, on each provider's path and on others."""
    pair.end_authz(signal.SIGKILL)
    for _ in range(3):
        _unavailable(pair, token, path)
    without_token = httpx.post(f"{pair.url}{path}", json=BODY, timeout=60)
    assert without_token.status_code == 503


def test_health_tells_of_dead_authz(pair: Parts) -> None:
    """Without authz the health paths on the gateway listener are 503 too, in JSON."""
    pair.end_authz(signal.SIGKILL)
    for path in ("/healthz", "/readyz"):
        answer = httpx.get(f"{pair.url}{path}", timeout=60)
        assert answer.status_code == 503
        assert answer.json()["error"]["type"] == "api_error"


def test_the_page_tells_of_dead_authz(pair: Parts) -> None:
    """Without authz a browser gets a page, and the API's clients get JSON."""
    pair.end_authz(signal.SIGKILL)
    html = {"accept": "text/html,*/*;q=0.8"}
    answer = httpx.get(f"{pair.url}/ui/account/tokens", headers=html, timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "The gateway got no answer from authz." in answer.text
    assert answer.headers["cache-control"] == "no-store"
    for path, headers in (("/ui/", {}), ("/api/v2/users/me", html)):
        answer = httpx.get(f"{pair.url}{path}", headers=headers, timeout=60)
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")


def test_authz_comes_back(pair: Parts, token: str) -> None:
    """A new authz on the same socket serves without a restart of Envoy."""
    assert pair.authz is not None
    assert pair.envoy is not None
    before, envoy = pair.authz.pid, pair.envoy.pid
    pair.end_authz(signal.SIGKILL)
    _unavailable(pair, token)
    assert pair.socket_path.exists()
    pair.start_authz()
    _recovers(pair, token)
    assert pair.authz.pid != before
    assert pair.envoy.pid == envoy


@pytest.mark.parametrize("path", [PATHS["anthropic"], PATHS["openai"]])
def test_authz_stopped(pair: Parts, token: str, path: str) -> None:
    """A request to a stopped authz (SIGSTOP) is 503 in time, and passes once authz continues."""
    assert pair.authz is not None
    pair.authz.send_signal(signal.SIGSTOP)
    try:
        with futures.ThreadPoolExecutor(4) as pool:
            for waiting in [pool.submit(_post, pair, token, path) for _ in range(3)]:
                assert waiting.result().status_code == 503
        _unavailable(pair, token, path)
    finally:
        pair.authz.send_signal(signal.SIGCONT)
    _recovers(pair, token)


def test_slow_authz(pair: Parts, token: str) -> None:
    """A check that exceeds the timeout is 503, and its late answer lets nothing pass."""
    pair.end_authz()
    pair.start_authz(
        patch="""
        async def late(self, message):
            await asyncio.sleep(0)
            if b"/v1/messages" in message:
                await asyncio.sleep(1.5)
            return await self.check(message)
        Authorizer.answer = late
        """
    )
    _unavailable(pair, token)
    time.sleep(0.8)
    assert pair.provider.take() == []
    assert _post(pair, token, PATHS["openai"]).status_code == 200
    pair.end_authz()


@pytest.mark.parametrize("error", ["RuntimeError(token.id)", "TimeoutError()"])
def test_raising_source(pair: Parts, token: str, error: str) -> None:
    """An unexpected exception in an identity source is 503 in the provider's own shape."""
    pair.end_authz()
    pair.start_authz(
        patch=f"""
        def verify_now(self, token):
            raise {error}
        SQLiteSource.verify_now = verify_now
        """
    )
    answer = _unavailable(pair, token)
    assert answer.json()["request_id"]
    openai = _unavailable(pair, token, PATHS["openai"]).json()
    assert set(openai) == {"error"}
    assert set(openai["error"]) == {"message", "type", "param", "code"}
    pair.end_authz()


def test_raising_check(pair: Parts, token: str) -> None:
    """A check that raises is 503, although gRPC then has no answer from authz."""
    pair.end_authz()
    pair.start_authz(
        wait=False,
        patch="""
        def answer(self, message):
            raise RuntimeError
        Authorizer.answer = answer
        """,
    )
    wait_until(pair.socket_path.exists, 10, "authz listening")
    for path in PATHS.values():
        answer = _unavailable(pair, token, path)
        assert answer.headers["request-id"] == answer.json()["request_id"]
    pair.end_authz()


def _remove(path: Path) -> None:
    path.unlink()


def _garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(5000)


def _foreign(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE api_keys (id TEXT)")
        connection.commit()


def _unreadable(path: Path) -> None:
    path.chmod(0)


@pytest.mark.parametrize(
    "damage", [_remove, _garbage, _empty, _folder, _truncated, _foreign, _unreadable]
)
def test_identity_database_fails(pair: Parts, token: str, damage: Callable[[Path], None]) -> None:
    """Without its database authz answers 503 and is not ready, and it recovers with it."""
    if damage is _unreadable and os.geteuid() == 0:
        pytest.skip("root reads every file")
    database = pair.folder / "identity.db"
    # In one file, since authz may write usage meanwhile.
    kept = pair.folder / "kept.db"
    with (
        contextlib.closing(sqlite3.connect(database)) as from_there,
        contextlib.closing(sqlite3.connect(kept)) as to_here,
    ):
        from_there.backup(to_here)
    shutil.copymode(database, kept)
    refusals = pair.stdout.count("identity_unavailable")
    try:
        damage(database)
        for path in (PATHS["anthropic"], PATHS["openai"]):
            _unavailable(pair, token, path)
        for url in (pair.url, f"http://127.0.0.1:{pair.http_port}"):
            _ready(url, 503)
            assert httpx.get(f"{url}/healthz").status_code == 200
        wait_until(
            lambda: pair.stdout.count("identity_unavailable") > refusals,
            3,
            "the reason in the log",
        )
    finally:
        shutil.rmtree(database) if database.is_dir() else database.unlink(missing_ok=True)
        for file in pair.folder.glob("identity.db-*"):
            file.unlink()
        # At once: authz may open it at any moment.
        kept.replace(database)
    _recovers(pair, token)
    _ready(pair.url, 200)


def _ready(url: str, status: int) -> None:
    # The answer may be a second old.
    wait_until(lambda: httpx.get(f"{url}/readyz").status_code == status, what="readiness")


def _no_answer(connection: socket.socket) -> None:
    time.sleep(1.2)


def _close(connection: socket.socket) -> None:
    connection.recv(1)


def _noise(connection: socket.socket) -> None:
    connection.sendall(b"\x00\xff" * 500)


def _http1(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def test_something_else_on_the_socket(pair: Parts, token: str) -> None:
    """A process on authz's socket that does not speak gRPC results in a 503 in time."""
    pair.end_authz(signal.SIGKILL)
    for behave in (_no_answer, _close, _noise, _http1):
        with _listening(pair.socket_path, behave):
            _unavailable(pair, token)


@contextlib.contextmanager
def _listening(path: Path, behave: Callable[[socket.socket], None]) -> Iterator[None]:
    over = threading.Event()
    listener = unix_listener(path)

    def serve() -> None:
        listener.settimeout(0.1)
        while not over.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    behave(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
        listener.close()


@contextlib.contextmanager
def _fake_authz(
    path: Path, answer: Callable[[bytes, grpc.ServicerContext], bytes]
) -> Iterator[None]:
    path.unlink(missing_ok=True)
    service, method = METHOD.strip("/").split("/")
    handler: grpc.RpcMethodHandler[bytes, bytes]
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield
    finally:
        server.stop(0).wait()


def test_answer_of_garbage(pair: Parts, token: str) -> None:
    """An answer that is not a CheckResponse is 503."""
    pair.end_authz(signal.SIGKILL)
    garbage = [b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", b"garbage", b"\x0a\x02\x08"]
    answers = iter(garbage)
    with _fake_authz(pair.socket_path, lambda _request, _context: next(answers)):
        for _ in garbage:
            _unavailable(pair, token)


def test_bare_grpc_error(pair: Parts, token: str) -> None:
    """A gRPC error of any code is 503, since it says nothing about the token."""
    errors = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
    codes = iter(errors)

    def abort(_request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(next(codes), "no")
        raise AssertionError

    pair.end_authz(signal.SIGKILL)
    with _fake_authz(pair.socket_path, abort):
        for _ in errors:
            _unavailable(pair, token)


def test_checks_in_flight_finish(pair: Parts, token: str) -> None:
    """After SIGTERM authz still answers the checks that it has begun, and exits with 0."""
    pair.end_authz()
    pair.start_authz(
        patch="""
        async def late(self, message):
            print("check begun", file=sys.stderr, flush=True)
            await asyncio.sleep(0)
            await asyncio.sleep(0.4)
            return await self.check(message)
        # This one waits, which the embedded store never does.
        Authorizer.answer = late
        """
    )
    begun = pair.stderr.count("check begun")
    with futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(_post, pair, token) for _ in range(8)]
        wait_until(lambda: pair.stderr.count("check begun") >= begun + 8, 5, "checks in flight")
        assert pair.end_authz(signal.SIGTERM) == 0
        assert [one.result().status_code for one in waiting] == [200] * 8
    assert len(pair.provider.take()) == 8
    assert not pair.socket_path.exists()
    _unavailable(pair, token)


def test_restart_under_load(pair: Parts, token: str) -> None:
    """Every answer during a restart of authz is 200 or the right 503."""
    over = threading.Event()
    statuses: set[int] = set()

    def ask() -> None:
        headers = {"x-api-key": token}
        with httpx.Client(base_url=pair.url, headers=headers, timeout=60) as client:
            while not over.is_set():
                answer = client.get("/anthropic/v1/models")
                statuses.add(answer.status_code)
                if answer.status_code == 503:
                    assert answer.json()["error"]["type"] == "api_error"
                    assert "retry-after" in answer.headers

    def is_served() -> bool:
        statuses.discard(200)
        wait_until(lambda: 200 in statuses or any(one.done() for one in asking), what="an answer")
        return 200 in statuses

    with futures.ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            assert is_served()
            pair.end_authz(signal.SIGKILL)
            time.sleep(0.2)
            pair.start_authz()
            assert is_served()
        finally:
            over.set()
        for one in asking:
            one.result()
        # A check that finds no authz is tried again, mostly until there is one.
        assert statuses <= {200, 503}
    _recovers(pair, token)


def test_provider_down(provider: Provider, running: Parts, token: str) -> None:
    """A provider that can't be reached is 503 in JSON, with its own text."""
    settings = [
        {**p, "base_url": f"http://127.0.0.1:{free_port()}"} for p in running.settings["providers"]
    ]
    with parts(provider, providers=settings) as down:
        answer = _post(down, down.create_token("alice"))
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error["type"] == "api_error"
    assert error["code"] == "provider_unreachable"
    assert answer.headers["request-id"] == answer.json()["request_id"]
    assert "Coder token" not in error["message"]


async def test_grpc_server_finishes_its_checks(tmp_path: Path) -> None:
    """A stop waits for a check in flight and answers it, and then removes the socket."""
    entered = asyncio.Event()

    async def check(message: bytes) -> bytes:
        entered.set()
        await asyncio.sleep(0.3)
        return b"answer to " + message

    path = tmp_path / "a.sock"
    server = GrpcServer({METHOD: UnaryMethod(check)}, UnixAddress(str(path)))
    await server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        call = ask(b"question")
        await asyncio.wait_for(entered.wait(), 60)
        await server.stop(60)
        assert await call == b"answer to question"
    assert not path.exists()
