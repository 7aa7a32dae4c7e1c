"""One side of the comparison: answers checks with the ``authz`` that is on the path.

It uses nothing that is not in earlier commits as well.
"""

import asyncio
import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from authz.check import tarpit
from authz.check.authorizer import Authorizer
from authz.check.ext_authz import METHOD
from authz.config.settings import Config
from authz.identity.open import open_source, open_store
from authz.pb import ext_authz_pb2 as pb
from authz.transport.common import UnaryMethod
from authz.transport.http2 import frames
from authz.transport.http2.connection import Connection

_ENTRY_ID = re.compile(rb"[0-9a-f]{12}-[0-9]{12}")


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        pass


def _frames(written: bytes) -> Iterator[bytes]:
    """Return each frame as hexadecimal text, without ids, and with protobuf's maps in order."""
    offset = 0
    while offset < len(written):
        begin = offset + frames.HEADER_LENGTH
        length, kind, *_ = frames.unpack_header(written, offset)
        offset = begin + length
        frame = written[begin - frames.HEADER_LENGTH : offset]
        if kind == frames.DATA:
            response = pb.CheckResponse.FromString(written[begin + 5 : offset])
            frame = frame[:14] + response.SerializeToString(deterministic=True)
        yield _ENTRY_ID.sub(b"#" * 25, frame).hex().encode()


async def _make(folder: Path) -> None:
    """Make a store, and print its tokens with their ids."""
    store = await open_store(f"sqlite:///{folder}/identity.db", create=True)
    tokens = []
    for number in range(60):
        user = await store.create_user(f"user-{number}")
        # Some end within the day in which responses tell the end.
        life = timedelta(hours=2 if number % 3 else 200)
        tokens.append(str((await store.create_token(user, None, life))[0]))
    await store.close()
    print(json.dumps(tokens))


async def _run(folder: Path, steps: Path, answers: Path) -> None:
    provider = {"name": "anthropic", "type": "anthropic", "base_url": "https://api.anthropic.com/"}
    openai = {"name": "openai", "type": "openai", "base_url": "https://api.openai.com/v1"}
    pool = [{"file": str(folder / "first")}, {"file": str(folder / "second")}]
    values = {
        "identity": f"sqlite:///{folder}/identity.db",
        "providers": [provider | {"key": {"file": str(folder / "first")}}, openai | {"keys": pool}],
    }
    config = Config.model_validate(values)
    source = await open_source(config.identity)
    # Delayed refusals would come at another time, but be the same.
    tarpit.BURST = 1_000_000_000
    authorizer = Authorizer(config, source)
    handler = getattr(authorizer, "answer", authorizer.check)
    writer = sqlite3.connect(folder / "identity.db", isolation_level=None)
    connection, transport = None, _Transport()
    with steps.open() as lines, answers.open("wb") as out:
        for line in lines:
            kind, value = json.loads(line)
            if kind == "open":
                connection, transport = (
                    Connection({METHOD: UnaryMethod(handler, True)}, set()),
                    _Transport(),
                )
                connection.connection_made(transport)
            elif kind == "read":
                assert connection is not None
                connection.data_received(bytes.fromhex(value))
            elif kind == "sql":
                writer.execute(*value)
            elif kind == "key":
                name, text = value
                (folder / name).write_text(text)
            elif kind == "byok":
                authorizer.allow_byok = value
            out.write(b" ".join(_frames(transport.written)) + b"\n")
            transport.written = b""
    writer.close()
    await source.close()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    match sys.argv[1:]:
        case ["make", folder]:
            asyncio.run(_make(Path(folder)))
        case ["run", folder, steps, answers]:
            asyncio.run(_run(Path(folder), Path(steps), Path(answers)))
