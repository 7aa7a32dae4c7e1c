"""Helpers that ask Coder's API as an identity source."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from authz.core.tokens import CoderToken, generate, parse
from authz.identity.coder_source import CoderSource


@contextlib.asynccontextmanager
async def opened(base: str, ca_file: Path | None = None) -> AsyncIterator[CoderSource]:
    """Open a source for a block."""
    source = CoderSource(base, ca_file=ca_file)
    try:
        yield source
    finally:
        await source.close()


def read(text: str) -> CoderToken:
    """Read a token that is well formed."""
    token = parse(text)
    assert token is not None
    return token


def unknown() -> CoderToken:
    """Make a token that Coder has never seen."""
    return read(generate()[0])


async def reached(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true in the server's thread."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)
