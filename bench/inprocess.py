"""Measure a check in authz's process, part by part: ``python -m bench.inprocess``.

No Envoy, no network, one process. CPU µs, the least of several repeats, since whatever else a
machine does only adds to it. Parts are timed alone, so they need not add up to the whole.
"""

import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from authz.check import ext_authz
from authz.check.authorizer import Authorizer
from authz.check.decision_cache import DecisionCache
from authz.check.entry_ids import EntryIds
from authz.check.ext_authz import METHOD
from authz.config.external_gateways import CONTEXT_ROUTES, Secrets
from authz.config.settings import Config
from authz.core.tokens import parse
from authz.external.reader import ExternalReader
from authz.identity.open import open_source, open_store
from authz.identity.sqlite_source import SQLiteSource
from authz.keys.pool import KeyPool
from authz.keys.sources import FileKey
from authz.metrics import Metrics
from authz.pb import ext_authz_pb2 as pb
from authz.pb import external_check_pb2 as external
from authz.transport.common import UnaryMethod
from authz.transport.http2.connection import Connection
from authz.usage.entry import Tokens, Usage, UsageEntry
from authz.usage.metrics import UsageMetrics
from bench.questions import BASE_URL, Calls, begin, check_question

_REPEATS, _TIMES = 7, 5_000


def _least(work: Callable[[], object]) -> float:
    took = []
    for _ in range(_REPEATS):
        began = time.process_time()
        for _ in range(_TIMES):
            work()
        took.append(time.process_time() - began)
    return min(took) / _TIMES * 1e6


def _now(awaitable: Awaitable[Any]) -> None:
    """Run what never waits."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration:
        return
    raise RuntimeError("it has waited")


def _external_questions(own: bytes) -> list[bytes]:
    """Return the same question as another Envoy asks it, in several orders of its map.

    That Envoy adds a few headers, and names the HTTPRoute in place of the facts.
    """
    http = pb.CheckRequest.FromString(own).attributes.request.http
    asked = external.CheckRequest()
    theirs = asked.attributes.request.http
    theirs.method, theirs.path, theirs.host = http.method, http.path, "gateway.example"
    headers = {
        field.key: field.raw_value.decode()
        for field in map(pb.HeaderValue.FromString, http.header_map.headers)
    }
    headers |= {":authority": theirs.host, ":scheme": "http", "x-forwarded-for": "192.0.2.2"}
    headers |= {"x-envoy-external-address": "192.0.2.2"}
    route = {"kind": "HTTPRoute", "namespace": "ai", "name": "anthropic"}
    metadata = external.Metadata()
    metadata.filter_metadata["envoy-gateway"].update({"resources": [route]})
    asked.attributes.route_metadata_context = metadata.SerializeToString()
    orders, entries = [], list(headers.items())
    for seed in range(20):
        random.Random(seed).shuffle(entries)
        theirs.headers[:] = [
            external.HeaderEntry(key=key, value=value).SerializeToString() for key, value in entries
        ]
        orders.append(asked.SerializeToString())
    return orders


def _marked(own: bytes, mark: str) -> bytes:
    """Return the question of our own Envoy where other Envoys ask the same authz."""
    asked = pb.CheckRequest.FromString(own)
    fact = pb.ContextExtension(key=CONTEXT_ROUTES, value=mark)
    asked.attributes.context_extensions.append(fact.SerializeToString())
    return asked.SerializeToString()


def _transport(question: bytes) -> float:
    """Time the HTTP/2 server's own part of a call."""

    async def answer(_: bytes) -> bytes:
        return bytes(600)

    connection = Connection({METHOD: UnaryMethod(answer, immediate=True)}, set())
    begin(connection)
    calls = Calls()
    return _least(lambda: connection.data_received(calls.make([question]))) - _least(
        lambda: calls.make([question])
    )


async def _main(folder: Path) -> None:
    identity = f"sqlite:///{folder}/identity.db"
    store = await open_store(identity, create=True)
    user = await store.create_user("bench")
    text = str((await store.create_token(user, None, timedelta(hours=1)))[0])
    await store.close()
    key_file = folder / "key"
    key_file.write_text("sk-ant-0123456789abcdef")
    provider = {"name": "anthropic", "type": "anthropic", "base_url": BASE_URL}
    values = {"identity": identity, "providers": [provider | {"key": {"file": str(key_file)}}]}
    config = Config.model_validate(values)
    route = {"httproute": "ai/anthropic", "path": "/anthropic", "provider": "anthropic"}
    gateways = Config.model_validate(values | {"external_gateways": {"routes": [route]}})
    source, metrics, decision_cache = await open_source(identity), Metrics(), DecisionCache()
    authorizer = Authorizer(config, source, metrics=metrics)
    mark = "0" * 64
    reader = ExternalReader(gateways, Secrets(None, mark))
    both = Authorizer(gateways, source, metrics=metrics, reader=reader)
    question, token = check_question(text), parse(text)
    assert isinstance(source, SQLiteSource)
    theirs, ours = itertools.cycle(_external_questions(question)), _marked(question, mark)
    assert token is not None
    pool = KeyPool("anthropic", [FileKey(key_file)], has_cooldown=False)
    check = ext_authz.read(question)
    answer = await authorizer.check(question)
    for response in (answer, await both.check(ours), await both.check(next(theirs))):
        if pb.CheckResponse.FromString(response).status.code:
            raise SystemExit("the check is refused")
    ids, usage = EntryIds(), UsageMetrics(metrics.registry)
    entry = UsageEntry(
        *("", 0, "allow", 200, Usage.COMPLETE, 1),
        provider="anthropic",
        mode="byok",
        tokens=Tokens(input=1, output=1),
    )

    def count() -> None:
        metrics.count_check("allow", "", "anthropic", "byok")
        metrics.look_up_took(0.0001)
        metrics.check_took(0.0001)

    parts: dict[str, Callable[[], object]] = {
        "the whole check": lambda: authorizer.answer(question),
        "reading the question (upb)": lambda: ext_authz.read(question),
        "its headers and facts": lambda: decision_cache.get(decision_cache.key_of(check)),
        "the look-up in SQLite": lambda: source.verify_now(token),
        "the central key, in a file": pool.choose,
        "counting": count,
        "place and number in the answer": lambda: ext_authz.with_path_and_id(
            answer, "/anthropic/v1/messages", ids.next()
        ),
        "counting a request's usage": lambda: usage.count(entry),
    }
    for name, work in parts.items():
        print(f"| {name} | {_least(work):.1f} |")
    own = _least(lambda: authorizer.answer(question))
    beside = _least(lambda: both.answer(ours))
    other = _least(lambda: both.answer(next(theirs)))
    print(f"| the whole check, with external_gateways | {beside:.1f} |")
    print(f"| the whole check of an external gateway | {other:.1f} |")
    print(f"| the same, as a multiple of our own Envoy's in this run | {other / own:.2f} |")
    print(f"| the HTTP/2 server's part of a call | {_transport(question):.1f} |")
    await source.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(_main(Path(name)))
