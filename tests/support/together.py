"""Cases of a test that run simultaneously, since each waits for a peer that closes slowly."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

C = TypeVar("C")
R = TypeVar("R")


def together(ask: Callable[[C], R], cases: Iterable[C]) -> list[R]:
    """Call a function with each case, all at the same time, and return the results in order.

    Envoy closes a connection a second after its last answer, so cases one after the other would
    wait a second each.

    Args:
        ask: the function; what it raises names its case.
        cases: the cases, at most some twenty.
    """

    def named(case: C) -> R:
        try:
            return ask(case)
        except BaseException as error:
            error.add_note(f"case: {case!r}")
            raise

    listed = list(cases)
    with ThreadPoolExecutor(len(listed)) as pool:
        return list(pool.map(named, listed))
