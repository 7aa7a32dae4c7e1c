"""authz.arrivals: checks of one read share a look, and no look is older than a check's arrival."""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from authz.arrivals import ARRIVAL
from authz.core.identity import Identity, Rejection
from authz.core.tokens import parse
from authz.identity.accounts import ApiKey
from authz.identity.open import open_store
from authz.identity.sqlite_source import SQLiteSource
from authz.identity.store import Store
from authz.keys.sources import FileKey
from authz.transport.common import Methods, UnaryMethod
from tests.unit.transport.http2.wire import ECHO, SLOW, Wire, call, responses, settle


class World:
    """A server that answers with the current result of a look-up and the current key."""

    def __init__(self, store: Store, source: SQLiteSource, made: tuple[str, ApiKey], key: Path):
        self.store, self.source, self.record, self.key = store, source, made[1], key
        token = parse(made[0])
        assert token is not None
        self.token = token
        self.central = FileKey(key)
        self.turn = asyncio.Event()

    def methods(self) -> Methods:
        """Return a method that never waits, and one that waits for ``turn``."""
        return {ECHO: UnaryMethod(self.check, immediate=True), SLOW: UnaryMethod(self.late)}

    async def check(self, message: bytes) -> bytes:
        """Answer with the user or the rejection, and the key."""
        found = await self.source.verify(self.token)
        allowed = isinstance(found, Identity)
        assert allowed or isinstance(found, Rejection)
        key = self.central.current()
        assert key is not None
        return f"{allowed} {key.reveal()}".encode()

    async def late(self, message: bytes) -> bytes:
        """Answer in a task, once after the read and once more after a deletion."""
        before = await self.check(message)
        await self.turn.wait()
        return before + b", " + await self.check(message)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A store with one token, and a key file."""
    url = f"sqlite:///{tmp_path}/identity.db"
    store = await open_store(url, create=True)
    made = await store.create_token(await store.create_user("alice"))
    (tmp_path / "key").write_text("sk-first")
    source = SQLiteSource(tmp_path / "identity.db")
    yield World(store, source, made, tmp_path / "key")
    await source.close()
    await store.close()


def _answers(wire: Wire) -> list[bytes]:
    written, wire.transport.written = bytes(wire.transport.written), bytearray()
    return [response.body[5:] for _, response in sorted(responses(written).items())]


async def test_one_look_for_the_checks_of_a_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty checks that arrive together look at each file once, and the next read looks again."""
    wire = Wire(methods=world.methods())
    wire.send(call(1))
    looks: Counter[str] = Counter()
    stat = os.stat

    def counting(path: str) -> os.stat_result:
        looks[os.path.basename(path)] += 1
        return stat(path)

    monkeypatch.setattr(os, "stat", counting)
    wire.send(b"".join(call(number) for number in range(3, 43, 2)))
    assert looks == {"identity.db": 1, "identity.db-shm": 1, "key": 1}
    wire.send(call(43))
    assert looks == {"identity.db": 2, "identity.db-shm": 2, "key": 2}
    assert _answers(wire) == [b"True sk-first"] * 22


async def test_the_next_read_sees_a_deletion(world: World) -> None:
    """A check that is sent after a deletion and a new key sees both, however close the reads."""
    wire = Wire(methods=world.methods())
    wire.send(call(1) + call(3))
    await world.store.delete_token(world.record)
    world.key.write_text("sk-second")
    wire.send(call(5) + call(7))
    assert _answers(wire) == [b"True sk-first"] * 2 + [b"False sk-second"] * 2


async def test_a_task_looks_for_itself(world: World) -> None:
    """A call that looks again after its read has ended sees a deletion."""
    wire = Wire(methods=world.methods())
    wire.send(call(1) + call(3, path=SLOW))
    await settle()
    await world.store.delete_token(world.record)
    world.key.write_text("sk-second")
    world.turn.set()
    await settle()
    assert _answers(wire) == [b"True sk-first", b"True sk-first, False sk-second"]


async def test_a_read_ends_after_an_error(world: World) -> None:
    """A connection that fails within a read leaves no read behind."""
    Wire(methods=world.methods()).send(b"GET / HTTP/1.1\r\n\r\n" + bytes(30))
    assert ARRIVAL.number == 0


def test_threads_have_their_own_reads() -> None:
    """A read on one thread is not visible on another."""
    seen: list[int] = []
    ARRIVAL.begin()
    try:
        thread = threading.Thread(target=lambda: seen.append(ARRIVAL.number))
        thread.start()
        thread.join()
        first = ARRIVAL.number
    finally:
        ARRIVAL.end()
    ARRIVAL.begin()
    second = ARRIVAL.number
    ARRIVAL.end()
    assert seen == [0]
    assert 0 < first < second
