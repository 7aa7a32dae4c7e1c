"""A store in a temporary folder, made as the commands make it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from authz.identity.open import open_store
from authz.identity.sqlite import SQLiteSource
from authz.identity.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store's file is, in a folder that is not there yet."""
    return tmp_path / "state" / "identity.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    opened = await open_store(f"sqlite:///{path}", create=True)
    yield opened
    await opened.close()


@pytest.fixture
async def source(path: Path) -> AsyncIterator[SQLiteSource]:
    """The source on the same file, whether it is there or not."""
    opened = SQLiteSource(path)
    yield opened
    await opened.close()
