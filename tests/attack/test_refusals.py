"""Providers that refuse keys in odd ways: the next key answers, or the client gets the refusal."""

import contextlib
import itertools
import json
import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.origin import Origin
from tests.support.pair import Pair, pair, wait_until
from tests.support.raw import Answer, Closed, Connection, ask, request

LIMIT_KIB = 64
_KEY = re.compile(rb"(?im)^x-api-key: (\S+)")
_LENGTH = re.compile(rb"(?im)^content-length: (\d+)")
_numbers = itertools.count(1)
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def _refusal(headers: bytes = b"", status: bytes = b"429") -> bytes:
    return b"HTTP/1.1 %s No\r\ncontent-length: 2\r\n%s\r\n{}" % (status, headers)


class Refusing(Origin):
    """Answers one key at once with bytes of a test, before the request's body has come.

    It answers other keys when it has the whole request.

    Attributes:
        key: is refused.
        answer: the bytes.
        lengths: of the bodies that it answered with 200.
    """

    def __init__(self) -> None:
        super().__init__("{}")
        self.key = b""
        self.answer = b""
        self.lengths: list[int] = []
        self._answered: set[socket.socket] = set()

    def _answer(self, connection: socket.socket, data: bytes) -> bytes:
        head, found, body = data.partition(b"\r\n\r\n")
        if not found:
            return data
        key, length = _KEY.search(head), _LENGTH.search(head)
        assert key is not None
        is_refused = key[1] == self.key
        if is_refused and connection not in self._answered:
            self._answered.add(connection)
            self.heads.append(head)
            connection.sendall(self.answer)
        is_whole = len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")
        if not is_whole:
            return data
        if is_refused:
            self._answered.discard(connection)
            return b""
        self.heads.append(head)
        self.lengths.append(len(body))
        connection.sendall(_OK)
        return b""


@pytest.fixture(scope="module")
def origin() -> Iterator[Refusing]:
    """The provider."""
    with Refusing() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(origin: Refusing) -> Iterator[Pair]:
    """A pair with two keys for that provider."""
    with pair(start=False, envoy={"max_retry_body_kib": LIMIT_KIB}) as running:
        (provider,) = (one for one in running.settings["providers"] if one["name"] == "anthropic")
        del provider["key"]
        provider["base_url"] = f"http://127.0.0.1:{origin.port}"
        files = [running.folder / f"anthropic-{place}.key" for place in range(2)]
        provider["keys"] = [{"file": str(file)} for file in files]
        files[0].write_text("sk-ant-refused-0000")
        files[1].write_text("sk-ant-accepted-0000")
        running.start()
        running.create_user("alice")
        yield running


@pytest.fixture(scope="module")
def token(gateway: Pair) -> str:
    """A token of alice."""
    return gateway.create_token("alice")


@pytest.fixture
def refuse(gateway: Pair, origin: Refusing) -> Callable[[bytes], None]:
    """Return a function that puts a new key first, which the provider answers with given bytes."""

    def put(answer: bytes) -> None:
        key = f"sk-ant-refused-key-{next(_numbers):04d}"
        origin.key, origin.answer = key.encode(), answer
        origin.heads.clear()
        origin.lengths.clear()
        (gateway.folder / "anthropic-0.key").write_text(key)

    return put


def _cooldowns(gateway: Pair, key: bytes) -> list[int]:
    """Return the seconds of each cooldown of a key in the log, where a line may come late."""
    lines = [line for line in gateway.stderr.splitlines() if "central key on cooldown" in line]
    logged = [json.loads(line) for line in lines]
    return [one["seconds"] for one in logged if one["credential_hint"][-4:] == key.decode()[-4:]]


def _ask(gateway: Pair, token: str) -> Answer:
    return ask(gateway.port, _request(token, body=b"{}"))


def _request(token: str, headers: list[tuple[str, str]] | None = None, body: bytes = b"") -> bytes:
    named = [("x-coder-ai-governance-token", token), ("content-type", "application/json")]
    return request("POST", "/anthropic/v1/messages", [*named, *(headers or [])], body)


def test_a_providers_own_envoy(
    gateway: Pair, token: str, origin: Refusing, refuse: Callable[[bytes], None]
) -> None:
    """A refusal that comes from the rate limit of a provider's Envoy is retried like any other."""
    refuse(_refusal(b"x-envoy-ratelimited: true\r\n"))
    assert _ask(gateway, token).status == 200
    assert len(origin.heads) == 2


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_refusal_during_a_large_upload(
    gateway: Pair,
    token: str,
    origin: Refusing,
    refuse: Callable[[bytes], None],
    is_chunked: bool,
) -> None:
    """A client above the size limit gets the refusal itself, even if it is still sending."""
    total, part = 40 * LIMIT_KIB * 1024, b"x" * 16_384
    length = ("transfer-encoding", "chunked") if is_chunked else ("content-length", str(total))
    for _ in range(5):
        refuse(_refusal(b"retry-after: 7\r\n"))
        with Connection(gateway.port) as connection:
            connection.send(_request(token, [length]))
            # Envoy closes a second after the answer, which may be earlier on a busy machine.
            with contextlib.suppress(Closed):
                for _ in range(20):
                    connection.send(b"4000\r\n" + part + b"\r\n" if is_chunked else part)
                    time.sleep(0.001)
            answer = connection.read()
        assert (answer.status, answer.header("retry-after")) == (429, "7")
        assert not [name for name, _ in answer.headers if name.startswith(("x-envoy", "x-authz"))]
        assert len(origin.heads) == 1


def test_a_refusal_during_a_small_upload(
    gateway: Pair, token: str, origin: Refusing, refuse: Callable[[bytes], None]
) -> None:
    """A request whose length is within the limit is retried, and its whole body is sent again."""
    refuse(_refusal())
    total = LIMIT_KIB * 1024
    with Connection(gateway.port) as connection:
        connection.send(_request(token, [("content-length", str(total))]))
        for _ in range(8):
            connection.send(b"x" * (total // 8))
            time.sleep(0.005)
        assert connection.read().status == 200
    assert (len(origin.heads), origin.lengths) == (2, [total])


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (b"9", 9),
        (b"9" * 50_000, 86_400),
        *((value, 60) for value in (b"7\t8", "\uff17".encode(), b"1e400", b'"\\', b"%REQ(x)%")),
        (b"[[]]", 60),
    ],
)
def test_an_odd_retry_after(
    gateway: Pair,
    token: str,
    origin: Refusing,
    refuse: Callable[[bytes], None],
    retry_after: bytes,
    seconds: int,
) -> None:
    """The next key answers, and a Retry-After that can't be read is a cooldown of a minute."""
    refuse(_refusal(b"retry-after: " + retry_after + b"\r\n"))
    assert _ask(gateway, token).status == 200
    wait_until(lambda: _cooldowns(gateway, origin.key), 10, "the log's line")
    assert _cooldowns(gateway, origin.key) == [seconds]
    assert not any(word in gateway.stderr for word in ("script log", "dropped", "Traceback"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 429 No\r\ntransfer-encoding: chunked\r\n\r\n10000\r\n" + b"x" * 65_536,
        b"HTTP/1.1 401 No\r\ncontent-length: 1000\r\n\r\nabc",
        b"HTTP/1.1 529 No\r\ntransfer-encoding: chunked\r\ntrailer: t\r\n\r\n0\r\nt: 1\r\n\r\n",
        _refusal(b"x-authz-request: 1 1\r\n"),
    ],
)
def test_an_odd_refusal(
    gateway: Pair, token: str, refuse: Callable[[bytes], None], answer: bytes
) -> None:
    """A refusal with an endless body or with trailers does not keep the next key from answering."""
    refuse(answer)
    assert _ask(gateway, token).status == 200
