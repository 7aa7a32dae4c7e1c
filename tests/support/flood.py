"""Anonymous floods on a gateway from a separate process, and their effect on a good token."""

import asyncio
import base64
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from authz.core.tokens import generate
from tests.support import raw
from tests.support.requests import MODELS

CONNECTIONS = 400
INVENTED = b"INVENTED-TOKEN"
"""A placeholder in a request for a token that is different each time."""
_PAUSE_SECONDS = 0.01
_ROOT = Path(__file__).parents[2]


@dataclass
class Served:
    """The responses to a good token.

    Attributes:
        statuses: of its requests.
        median: seconds of the middle one.
    """

    statuses: Counter[int]
    median: float


@contextlib.contextmanager
def flooded(port: int, request: bytes, connections: int = CONNECTIONS) -> Iterator[Counter[int]]:
    """Send a request again and again on many connections, inside the block.

    The block is entered when each connection has sent a request.

    Yields:
        The statuses of the answers, filled in the end; 0 where a connection was cut.
    """
    statuses: Counter[int] = Counter()
    arguments = [str(port), base64.b64encode(request).decode(), str(connections)]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.flood", *arguments],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"flooding\n"
            yield statuses
        finally:
            process.stdin.close()
            counted = json.loads(process.stdout.read() or b"{}")
            statuses.update({int(status): count for status, count in counted.items()})


async def served(port: int, token: str, count: int = 30) -> Served:
    """Send requests with a good token, one after the other on one connection.

    There is a pause between them. A delayed flood comes in waves, and without pauses all requests
    would fit between two waves.
    """
    request = raw.request("GET", MODELS["anthropic"], [("x-api-key", token)])
    statuses: Counter[int] = Counter()
    seconds = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(count):
            began = time.perf_counter()
            writer.write(request)
            statuses[await _status(reader)] += 1
            seconds.append(time.perf_counter() - began)
            await asyncio.sleep(_PAUSE_SECONDS)
    finally:
        writer.close()
        await writer.wait_closed()
    return Served(statuses, statistics.median(seconds))


async def _flood(port: int, request: bytes, connections: int) -> None:
    statuses: Counter[int] = Counter()
    sending: set[int] = set()

    async def send_on(number: int) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            try:
                while True:
                    writer.write(request.replace(INVENTED, generate()[0].encode()))
                    sending.add(number)
                    statuses[await _status(reader)] += 1
            except (OSError, asyncio.IncompleteReadError):
                statuses[0] += 1
                await asyncio.sleep(0.01)
            finally:
                writer.close()

    tasks = [asyncio.create_task(send_on(number)) for number in range(connections)]
    while len(sending) < connections:  # noqa: ASYNC110 - counted in many places
        await asyncio.sleep(0.02)
    print("flooding", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(statuses), flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _status(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
        if name == b"transfer-encoding":
            while size := int((await reader.readuntil(b"\r\n")).strip() or b"0", 16):
                await reader.readexactly(size + 2)
            await reader.readuntil(b"\r\n")
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


if __name__ == "__main__":
    asyncio.run(_flood(int(sys.argv[1]), base64.b64decode(sys.argv[2]), int(sys.argv[3])))
