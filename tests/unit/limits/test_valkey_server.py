"""authz.limits.valkey_store with real servers: passwords, TLS, and servers that are away."""

from pathlib import Path
from typing import Any

import pytest

from authz.config.shared_limits import ValkeyURL
from authz.errors import StoreError
from authz.limits.limit import PASSED, LimitKind, Reached
from authz.limits.valkey_store import ValkeyStore
from authz.secret import Secret
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.valkey import ValkeyServer, running_valkey, with_tls

from .support import LIFE_MS, ask, limit, request

pytestmark = pytest.mark.usefixtures("patient")

_ONE = limit(LimitKind.REQUESTS, 1)
_SLOT = limit(LimitKind.CONCURRENT, 1)


def _url(port: int, username: str = "", *, tls: bool = False) -> ValkeyURL:
    return ValkeyURL("127.0.0.1", port, 0, username, tls)


async def test_the_servers_time_and_keys_that_end(valkey: ValkeyServer) -> None:
    """Without a clock of a test the server's time counts, and no key stays for ever."""
    store = ValkeyStore(_url(valkey.port), LIFE_MS)
    await store._client.flushdb()
    first, second = await ask(store, request(1, _ONE, _SLOT), request(2, _ONE, _SLOT))
    assert first == PASSED
    assert isinstance(second, Reached)
    assert 59_000 < second.wait_ms <= 61_000
    keys: list[Any] = await store._client.keys()
    assert len(keys) == 3
    for key in keys:
        assert key.startswith(b"{authz}:")
        assert 0 < await store._client.pttl(key) <= LIFE_MS
    await store.settle({"a-0001": 0})
    left: list[Any] = await store._client.keys()
    assert [key.split(b":")[1] for key in left] == [b"requests"]
    await store.close()


async def test_a_restart_of_the_server_forgets_and_goes_on(valkey: ValkeyServer) -> None:
    """The script is loaded again, and the next batch finds the server."""
    store = ValkeyStore(_url(valkey.port), LIFE_MS)
    await store._client.flushdb()
    assert await ask(store, request(1, _ONE)) == [PASSED]
    valkey.kill()
    with pytest.raises(StoreError, match=r"^valkey://127.0.0.1:\d+/0: no connection$"):
        await store.admit([request(2, _ONE)])
    valkey.start()
    assert await ask(store, request(3, _ONE)) == [PASSED]
    await store.close()


async def test_users_and_passwords() -> None:
    """A new connection takes the password of now; a wrong one is in no error."""
    port = free_port()
    acl = "on >right-secret ~{authz}:* -@all +evalsha +script|load +time +get +set +del +select"
    with running_valkey(["--port", str(port), "--user", "authz", *acl.split()], port):
        words = [Secret("wrong-secret")]
        store = ValkeyStore(_url(port, "authz"), LIFE_MS, lambda: words[0])
        with pytest.raises(StoreError, match="the user or the password is wrong") as error:
            await store.admit([request(1, _ONE)])
        assert "secret" not in repr(error.value)
        words[0] = Secret("right-secret")
        assert await ask(store, request(1, _ONE)) == [PASSED]
        # This user may not use the commands of requests in progress.
        with pytest.raises(StoreError, match=r"it refuses the script|may not run scripts"):
            await store.admit([request(2, _SLOT)])
        await store.close()


async def test_tls(tmp_path: Path) -> None:
    """The server's certificate must be of a trusted CA."""
    authority, port = Authority(tmp_path, "ca"), free_port()
    with running_valkey(with_tls(port, *authority.issue()), port):
        store = ValkeyStore(_url(port, tls=True), LIFE_MS, None, authority.ca_file)
        assert await ask(store, request(1, _ONE)) == [PASSED]
        await store.close()
        untrusting = ValkeyStore(_url(port, tls=True), LIFE_MS)
        with pytest.raises(StoreError, match="no connection"):
            await untrusting.admit([request(1, _ONE)])
        await untrusting.close()
