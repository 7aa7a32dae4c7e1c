"""Let every event happen to the stack, and print a table: ``make chaos``.

``TIMES=3 make chaos`` repeats each one. It touches only containers that it has created.
"""

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.containers.events import EVENTS, Event
from tests.containers.measuring import CONNECTIONS, Result, measure
from tests.containers.stack import new_stack

_HEAD = """\
| event | times | failed | slowest response | right answers again after |
| --- | --- | --- | --- | --- |"""
_NAMES = {0: "cut", 503: "with 503"}


def main() -> int:
    """Print the table, and return 1 if a wrong token was accepted."""
    times = int(os.environ.get("TIMES", "1"))
    with (
        tempfile.TemporaryDirectory(prefix="authz-chaos-") as folder,
        new_stack(Path(folder)) as stack,
    ):
        stack.start()
        stack.scale(envoys=2, authzs=2)
        rows, allowed = [], 0
        for event in EVENTS:
            print(f"chaos: {event.name}", file=sys.stderr, flush=True)
            results = [measure(stack, event) for _ in range(times)]
            allowed += sum(result.allowed for result in results)
            rows.append(_row(event, results))
    print(f"Two Envoys, two authz, {CONNECTIONS} connections; wrong tokens let in: {allowed}.\n")
    print("\n".join([_HEAD, *rows]))
    return int(allowed > 0)


def _row(event: Event, results: list[Result]) -> str:
    failed = sum((result.failed for result in results), Counter[int]())
    total = sum(result.total for result in results)
    kinds = ", ".join(f"{count:,} {_NAMES.get(status, status)}" for status, count in failed.items())
    slowest = max(result.slowest for result in results)
    recovery = "" if event.sees == "nothing" else f"{max(one.recovery for one in results):.1f} s"
    return (
        f"| {event.name} | {len(results)} | {kinds or '0'} of {total:,} | {slowest * 1000:,.0f} ms "
        f"| {recovery} |"
    )


if __name__ == "__main__":
    sys.exit(main())
