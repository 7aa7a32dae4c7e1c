"""Runs a coroutine without the cost of a task, as far as it does not wait."""

import types
from collections.abc import Awaitable, Generator
from typing import Any, cast


def run_now(awaitable: Awaitable[bytes]) -> bytes | Awaitable[bytes]:
    """Run a coroutine without the cost of a task, as far as it does not wait.

    Returns:
        Its result, or the rest of it if it yielded in order to go on in a task.
    """
    steps = awaitable.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as done:
        return cast(bytes, done.value)
    if waits_for is None:
        return _rest(steps)
    steps.close()
    raise RuntimeError("an immediate method has waited outside of a task")


@types.coroutine
def _rest(steps: Generator[Any, None, bytes]) -> Generator[Any, None, bytes]:
    return (yield from steps)
