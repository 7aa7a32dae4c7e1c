"""authz.identity.batch."""

import asyncio
import gc
from collections.abc import Mapping, Sequence

import pytest

from authz.errors import IdentityUnavailable, IdentityUnreachable
from authz.identity.batch import Batcher


class Slow:
    """Look-ups that end when told to; keys in capitals are found.

    Attributes:
        calls: the keys of each look-up, in the order of their start.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self._ends: list[asyncio.Future[None]] = []

    async def __call__(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Wait for ``end``."""
        self.calls.append(tuple(keys))
        end = asyncio.get_running_loop().create_future()
        self._ends.append(end)
        await end
        return {key: f"found {key}" for key in keys if key.isupper()}

    def end(self, number: int, error: BaseException | None = None) -> None:
        """Let the look-up of that number return, or raise."""
        if error is None:
            self._ends[number].set_result(None)
        else:
            self._ends[number].set_exception(error)


async def settle() -> None:
    """Let everything run that can run without waiting."""
    for _ in range(12):
        await asyncio.sleep(0)


async def test_what_arrives_together_goes_together() -> None:
    """Requests of one turn of the event loop are one look-up, with each key once."""
    slow = Slow()
    batcher = Batcher(slow)
    asked = [asyncio.create_task(batcher.get(key)) for key in ("A", "B", "A", "c")]
    await settle()
    assert slow.calls == [("A", "B", "c")]
    slow.end(0)
    assert await asyncio.gather(*asked) == ["found A", "found B", "found A", None]


async def test_who_arrives_later_does_not_join() -> None:
    """A request that arrives while its key is looked up gets a look-up of its own."""
    slow = Slow()
    batcher = Batcher(slow, concurrency=2)
    first = asyncio.create_task(batcher.get("A"))
    await settle()
    second = asyncio.create_task(batcher.get("A"))
    await settle()
    assert slow.calls == [("A",), ("A",)]
    slow.end(1)
    assert await second == "found A"
    assert not first.done()
    slow.end(0)
    assert await first == "found A"


async def test_exclusive_keys_wait_for_their_own_look_up() -> None:
    """An exclusive key waits until its look-up has ended, and other keys pass it meanwhile."""
    slow = Slow()
    batcher = Batcher(slow, concurrency=2, max_batch=1, exclusive=True)
    first = asyncio.create_task(batcher.get("A"))
    await settle()
    later = [asyncio.create_task(batcher.get(key)) for key in ("A", "A", "B", "A")]
    await settle()
    assert slow.calls == [("A",), ("B",)]
    slow.end(0)
    assert await first == "found A"
    await settle()
    assert slow.calls == [("A",), ("B",), ("A",)]
    slow.end(1)
    slow.end(2)
    assert await asyncio.gather(*later) == ["found A", "found A", "found B", "found A"]


async def test_size_and_concurrency_are_bounded() -> None:
    """No look-up has more keys than ``max_batch``, and no more are under way than allowed."""
    slow = Slow()
    batcher = Batcher(slow, concurrency=2, max_batch=3)
    asked = [asyncio.create_task(batcher.get(key)) for key in "ABCDEFGH"]
    await settle()
    assert slow.calls == [("A", "B", "C"), ("D", "E", "F")]
    slow.end(0)
    await settle()
    assert slow.calls[2:] == [("G", "H")]
    slow.end(1)
    slow.end(2)
    assert await asyncio.gather(*asked) == [f"found {key}" for key in "ABCDEFGH"]


async def test_waiting_is_bounded() -> None:
    """One key too many is refused at once; a key that is already waiting can be asked for again."""
    slow = Slow()
    batcher = Batcher(slow, concurrency=1, max_waiting=2)
    asked = [asyncio.create_task(batcher.get("A"))]
    await settle()
    asked += [asyncio.create_task(batcher.get(key)) for key in ("B", "C", "B")]
    await settle()
    with pytest.raises(IdentityUnavailable, match="too many"):
        await batcher.get("D")
    slow.end(0)
    await settle()
    slow.end(1)
    assert await asyncio.gather(*asked) == ["found A", "found B", "found C", "found B"]


async def test_many_callers_share_a_timer() -> None:
    """After the time limit, nothing remains of callers that got their answer."""
    slow = Slow()
    batcher = Batcher(slow, concurrency=1, seconds=0.05)
    asked = [asyncio.create_task(batcher.get(f"{number}")) for number in range(100)]
    await settle()
    slow.end(0)
    assert len(await asyncio.gather(*asked)) == 100
    while batcher._ends:  # noqa: ASYNC110 - it ends by itself
        await asyncio.sleep(0.01)
    assert batcher._timer is None


async def test_a_slow_look_up_is_given_up() -> None:
    """Callers and look-ups time out, and the next ones still get through."""
    slow = Slow()
    batcher = Batcher(slow, concurrency=1, seconds=0.3)
    with pytest.raises(IdentityUnavailable, match="took too long"):
        await batcher.get("A")
    again = asyncio.create_task(batcher.get("A"))
    while len(slow.calls) < 2:
        assert not again.done(), "the look-up that was given up still holds its place"
        await asyncio.sleep(0.001)
    slow.end(1)
    assert await again == "found A"


async def test_nobody_is_looked_up_for_callers_who_left() -> None:
    """A key whose callers have all gone before its turn is not looked up."""
    slow = Slow()
    batcher = Batcher(slow, concurrency=1)
    first = asyncio.create_task(batcher.get("A"))
    await settle()
    gone = [asyncio.create_task(batcher.get(key)) for key in ("B", "B", "C")]
    stays = asyncio.create_task(batcher.get("C"))
    await settle()
    for task in gone:
        task.cancel()
    await settle()
    slow.end(0)
    await first
    await settle()
    assert slow.calls == [("A",), ("C",)]
    slow.end(1)
    assert await stays == "found C"


async def test_a_cancelled_caller_cancels_nobody_else() -> None:
    """A caller that shares a look-up with a cancelled caller still gets the answer."""
    slow = Slow()
    batcher = Batcher(slow)
    leaves, stays = (asyncio.create_task(batcher.get("A")) for _ in range(2))
    await settle()
    leaves.cancel()
    await settle()
    assert leaves.cancelled()
    slow.end(0)
    assert await stays == "found A"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (IdentityUnavailable("the database is gone"), "^the database is gone$"),
        (ValueError("asked about hunter2"), "^look-up failed: ValueError$"),
        (TimeoutError(), "^the look-up took too long$"),
    ],
)
async def test_errors_reach_every_caller(error: Exception, text: str) -> None:
    """A look-up that fails fails all its callers, with a text that quotes no driver."""
    slow = Slow()
    batcher = Batcher(slow)
    asked = [asyncio.create_task(batcher.get(key)) for key in "AAB"]
    await settle()
    slow.end(0, error)
    for task in asked:
        with pytest.raises(IdentityUnavailable, match=text):
            await task
    again = asyncio.create_task(batcher.get("A"))
    await settle()
    slow.end(1)
    assert await again == "found A"


@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_long_queue_is_no_outage(is_answered: bool) -> None:
    """A caller that times out sees an outage only if the source answered no look-up meanwhile."""
    slow = Slow()
    batcher = Batcher(slow, concurrency=1, max_batch=1, seconds=0.2)
    tasks = [asyncio.create_task(batcher.get(key)) for key in "AB"]
    await settle()
    if is_answered:
        slow.end(0)
        await settle()
    with pytest.raises(IdentityUnavailable) as caught:
        await tasks[1]
    # A look-up that is under way and gets no answer is one; its caller may leave just before.
    late = asyncio.create_task(batcher.get("A"))
    assert isinstance(caught.value, IdentityUnreachable) is not is_answered
    late.cancel()
    await asyncio.gather(*tasks, late, return_exceptions=True)
    await batcher.close()


async def test_an_error_that_nobody_waits_for_is_silent() -> None:
    """A failing look-up whose callers have all left is not reported as an unretrieved exception."""
    reports: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    slow = Slow()
    batcher = Batcher(slow)
    caller = asyncio.create_task(batcher.get("A"))
    await settle()
    caller.cancel()
    await settle()
    slow.end(0, IdentityUnavailable("down"))
    await settle()
    # All that could hold the answer: the traceback of the error that ``slow`` keeps does too.
    del caller, slow, batcher
    gc.collect()
    await settle()
    assert reports == []


@pytest.mark.parametrize("steps", [0, 1, 2, 12])
async def test_close_fails_everybody_and_leaves_no_task(steps: int) -> None:
    """Closing ends look-ups under way, just started and waiting, at once and for good."""
    slow = Slow()
    batcher = Batcher(slow, concurrency=1, max_batch=1)
    before = asyncio.all_tasks()
    asked = [asyncio.create_task(batcher.get(key)) for key in "ABC"]
    for _ in range(steps):
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await batcher.close()
        for task in asked:
            with pytest.raises(IdentityUnavailable, match="closed"):
                await task
        with pytest.raises(IdentityUnavailable, match="closed"):
            await batcher.get("A")
        await batcher.close()
    assert asyncio.all_tasks() == before
    assert len(slow.calls) <= 1, "no look-up starts once it is closed"
