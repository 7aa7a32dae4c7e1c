"""The program whose instructions ``bench.instructions`` counts: ``python -m bench.counted``.

callgrind writes a dump at each call of ``getppid`` (``--dump-before``). Of two dumps the first has
what prepares a part, and the second the part itself.
"""

import asyncio
import gc
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from authz.check.authorizer import Authorizer
from authz.check.entry_ids import EntryIds
from authz.check.ext_authz import METHOD
from authz.config.settings import Config
from authz.identity.open import open_source, open_store
from authz.metrics import Metrics
from authz.pb import ext_authz_pb2 as pb
from authz.transport.common import UnaryMethod
from authz.transport.http2.connection import Connection
from authz.usage import receiver
from authz.usage.metrics import UsageMetrics
from authz.usage.receiver import RequestRecords
from authz.usage.service import UsageRecording
from bench.questions import BASE_URL, Calls, begin, check_question, usage_records

TOGETHER = 9
"""The checks in one read of the socket, as measured with 32 connections of clients."""
RECORDS = 20
"""The records in one message of Envoy's access log, as measured under load."""
_READS = 60

PARTS = {
    "check": ("a check that arrives alone", _READS),
    "checks": (f"a check that arrives with {TOGETHER - 1} others", _READS * TOGETHER),
    "record": ("a usage record", _READS * RECORDS),
}
"""The parts in the order of the program: title, and how often each happens in the count."""


def _mark() -> None:
    os.getppid()


def _count(work: Callable[[bytes], None], warm: list[bytes], counted: list[bytes]) -> None:
    for one in warm:
        work(one)
    gc.collect()
    gc.freeze()
    _mark()
    for one in counted:
        work(one)
    _mark()


async def _main(folder: Path) -> None:
    identity = f"sqlite:///{folder}/identity.db"
    store = await open_store(identity, create=True)
    user = await store.create_user("bench")
    token = str((await store.create_token(user, None, timedelta(hours=1)))[0])
    await store.close()
    key_file = folder / "key"
    key_file.write_text("sk-ant-0123456789abcdef")
    provider = {"name": "anthropic", "type": "anthropic", "base_url": BASE_URL}
    providers = [provider | {"key": {"file": str(key_file)}}]
    config = Config.model_validate({"identity": identity, "providers": providers})
    source, metrics, ids = await open_source(identity), Metrics(), EntryIds()
    authorizer = Authorizer(config, source, metrics=metrics, ids=ids)
    # Not started: rows wait in memory, and what writes them is not counted.
    usage = UsageRecording(config, ids, UsageMetrics(metrics.registry))
    records = RequestRecords(usage.record, lambda _provider, _status: None)
    methods = {
        METHOD: UnaryMethod(authorizer.answer, immediate=True),
        receiver.METHOD: UnaryMethod(records.receive, immediate=True),
    }
    connection = Connection(methods, set())
    transport, calls = begin(connection), Calls()
    questions = iter([check_question(token, number) for number in range(2_000)])

    def reads(of: int) -> list[bytes]:
        return [calls.make([next(questions) for _ in range(of)]) for _ in range(_READS)]

    def receive(data: bytes) -> None:
        connection.data_received(data)
        assert transport.written.count(b"grpc-status\x010") in (1, TOGETHER)

    if pb.CheckResponse.FromString(await authorizer.check(next(questions))).status.code:
        raise SystemExit("the check is refused")
    for size in (1, TOGETHER):
        warm = reads(size)
        _count(receive, warm, reads(size))
    messages = [usage_records(ids, RECORDS) for _ in range(2 * _READS)]
    framed = [calls.make([message], receiver.METHOD) for message in messages]
    _count(receive, framed[:_READS], framed[_READS:])
    await source.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(_main(Path(name)))
    # Nothing of a busy exit belongs to the last part, and it takes seconds under callgrind.
    sys.stdout.flush()
    os._exit(0)
