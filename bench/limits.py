"""Measure the cost of a shared limit for a check in authz's process: ``python -m bench.limits``.

CPU of this process for each check, as a multiple of the same check without limits in the same run.
Checks with SQLite, PostgreSQL and Valkey arrive 64 at a time; servers run on this machine.
"""

import asyncio
import contextlib
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from authz.check.authorizer import Authorizer
from authz.check.ext_authz import metadata_of
from authz.config.settings import Config
from authz.config.shared_limits import SharedLimits, ValkeyURL, parse_store
from authz.core.admission import Gate
from authz.core.identity import IdentitySource
from authz.database.url import PostgresURL, SQLiteURL
from authz.identity.open import open_source, open_store
from authz.limits.gate import LimitGate
from authz.limits.limit import LimitStore
from authz.limits.memory_store import MemoryStore
from authz.limits.sql_store import SqlStore, open_postgresql, open_sqlite
from authz.limits.valkey_store import ValkeyStore
from bench.inprocess import _now
from bench.questions import check_question
from tests.support.postgres import running_server
from tests.support.valkey import running_valkey

_ROUNDS, _TIMES, _TOGETHER = 9, 2_000, 64
_MANY = 1_000_000
_LIFE_MS = 900_000
_MINUTE = {"requests_per_minute": _MANY}
_ALL = {**_MINUTE, "tokens_per_minute": _MANY, "concurrent_requests": _MANY}


class _Bench:
    """One configuration of limits, measured in turns with the others."""

    def __init__(self, name: str, authorizer: Authorizer, gate: LimitGate | None) -> None:
        self.name = name
        self._authorizer = authorizer
        self._gate = gate
        self.took: list[float] = []

    def immediate(self, question: bytes) -> None:
        """Time checks one after the other, which do not wait."""
        began = time.process_time()
        for _ in range(_TIMES):
            _now(self._authorizer.check(question))
        self.took.append((time.process_time() - began) / _TIMES * 1e6)

    async def together(self, question: bytes) -> None:
        """Time checks that arrive together, with the ends of their requests."""
        if not self.took and self._gate is not None:
            # Opens the store.
            await self._gate.flush()
        began = time.process_time()
        for _ in range(_TIMES // _TOGETHER):
            checks = (self._authorizer.check(question) for _ in range(_TOGETHER))
            messages = await asyncio.gather(*checks)
            if self._gate is not None:
                for message in messages:
                    self._gate.end(metadata_of(message)["entry"], 100)
        if self._gate is not None:
            await self._gate.flush()
        self.took.append((time.process_time() - began) / _TIMES * 1e6)


def _report(title: str, benches: list[_Bench]) -> None:
    print(f"\n| {title} | CPU µs | multiple |\n| --- | --- | --- |")
    # The least of several rounds, since whatever else a machine does only adds to it.
    off = min(benches[0].took)
    for one in benches:
        least = min(one.took)
        spread = statistics.median(one.took) - least
        print(f"| {one.name} | {least:.1f} (median +{spread:.1f}) | {least / off:.2f} |")


async def _main(folder: Path, stores: dict[str, Callable[[], LimitStore]]) -> None:
    identity = f"sqlite:///{folder}/identity.db"
    store = await open_store(identity, create=True)
    user = await store.create_user("bench")
    question = check_question(str((await store.create_token(user, None, timedelta(hours=1)))[0]))
    await store.close()
    key_file = folder / "key"
    key_file.write_text("sk-ant-0123456789abcdef")
    provider = {
        "name": "anthropic", "type": "anthropic", "base_url": "https://api.anthropic.com/",
        "key": {"file": str(key_file)},
    }  # fmt: skip
    config = Config.model_validate({"identity": identity, "providers": [provider]})
    source = await open_source(identity)

    def bench(name: str, place: LimitStore | None, **limits: Any) -> _Bench:
        gate = LimitGate(place, SharedLimits.model_validate(limits)) if place else None
        return _Bench(name, Authorizer(config, source, gates=_gates(gate)), gate)

    memory = partial(MemoryStore, _LIFE_MS)
    benches = [
        bench("no limits", None),
        bench("memory, a limit of other users only", memory(), users={"other": _MINUTE}),
        bench("memory, requests of each user", memory(), each_user=_MINUTE),
        bench("memory, requests of user, token and provider", memory(), each_user=_MINUTE,
              each_token=_MINUTE, providers={"anthropic": _MINUTE}),
    ]  # fmt: skip
    for _ in range(_ROUNDS):
        for one in benches:
            one.immediate(question)
    _report("checks one after the other", benches)
    opened = {name: make() for name, make in stores.items()}
    benches = [bench("no limits", None), bench("memory, all three of each user", memory(),
                                               each_user=_ALL)]  # fmt: skip
    benches += [
        bench(f"{name}, all three of each user", place, each_user=_ALL)
        for name, place in opened.items()
    ]
    for _ in range(_ROUNDS):
        for one in benches:
            await one.together(question)
    _report("64 checks at a time, and the ends of their requests", benches)
    await _close(source, opened)


async def _close(source: IdentitySource, opened: dict[str, LimitStore]) -> None:
    closing: list[Awaitable[None]] = [one.close() for one in opened.values()]
    await asyncio.gather(source.close(), *closing)


def _gates(gate: LimitGate | None) -> list[Gate]:
    return [] if gate is None else [gate]


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(running_server())
        postgres_url = parse_store(postgres.url(postgres.database()))
        valkey_url = parse_store(stack.enter_context(running_valkey()).url)
        assert isinstance(postgres_url, PostgresURL)
        assert isinstance(valkey_url, ValkeyURL)
        file = SQLiteURL(path / "limits.db")
        asyncio.run(
            _main(
                path,
                {
                    "SQLite": lambda: SqlStore(partial(open_sqlite, file), _LIFE_MS),
                    "PostgreSQL": partial(
                        SqlStore, partial(open_postgresql, postgres_url), _LIFE_MS
                    ),
                    "Valkey": partial(ValkeyStore, valkey_url, _LIFE_MS),
                },
            )
        )
