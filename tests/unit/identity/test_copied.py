"""authz.identity.copied: the age of a copy, and errors while it is read."""

import asyncio

import pytest
from structlog.testing import capture_logs

from authz.errors import StoreError
from authz.identity.copied import STALE_SECONDS, Copy, repeat


async def test_a_copy_is_used_until_it_is_too_old() -> None:
    """Rows that can't be read again are kept for STALE_SECONDS from the start of their read."""
    now = 0.0
    is_away = False

    async def read() -> list[str]:
        nonlocal now
        now += 1
        if is_away:
            raise StoreError("the database is away")
        return ["row"]

    copy = Copy(read, lambda: now)
    assert copy.value is None
    await copy.refresh()
    is_away = True
    with pytest.raises(StoreError):
        await copy.refresh()
    now = STALE_SECONDS
    assert copy.value == ["row"]
    now += 0.1
    assert copy.value is None


async def test_work_goes_on_after_errors_and_the_log_tells_the_first() -> None:
    """Two failures in a row are one line, and a later failure is another one."""
    outcomes = iter([False, False, True, False, True])
    done = asyncio.Event()

    async def work() -> None:
        try:
            is_good = next(outcomes)
        except StopIteration:
            done.set()
            await asyncio.Event().wait()
        if not is_good:
            raise StoreError("the database is away")

    with capture_logs() as logs:
        task = asyncio.create_task(repeat(work, 0, "budgets"))
        await done.wait()
        task.cancel()
    assert [line["event"] for line in logs] == ["budgets can't be used"] * 2
