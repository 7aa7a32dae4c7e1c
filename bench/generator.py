"""Running a load generator as a process of its own, and reading what it found."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import load, streams
from bench.world import BenchError

_SAMPLE_SECONDS = 0.25


def generate(job: load.Job) -> load.Outcome:
    """Send requests.

    Raises:
        BenchError: a connection was lost, or an answer is not 200.
    """
    outcome = load.Outcome(**_run(load.__file__, asdict(job), job.seconds + 60))
    if outcome.failures:
        raise BenchError(f"{outcome.failures} of {outcome.requests} requests got no 200")
    return outcome


def open_streams(job: streams.Job, meanwhile: Callable[[], None]) -> streams.Outcome:
    """Open streams and read them to their end.

    Args:
        meanwhile: called four times a second, from another thread.

    Raises:
        BenchError: a stream was refused or cut, or all of it took too long.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            meanwhile()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        values = _run(streams.__file__, asdict(job), job.seconds + 30)
    finally:
        done.set()
        watcher.join()
    outcome = streams.Outcome(**values)
    if outcome.failures:
        raise BenchError(f"{outcome.failures} of {outcome.streams} streams were not whole")
    return outcome


def _run(program: str, job: dict[str, Any], seconds: float) -> dict[str, Any]:
    # Alone with the standard library (-I -S): it starts in some milliseconds.
    result = subprocess.run(
        [sys.executable, "-I", "-S", Path(program)],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    if result.returncode != 0:
        raise BenchError(result.stderr.strip().splitlines()[-1])
    values: dict[str, Any] = json.loads(result.stdout)
    return values
