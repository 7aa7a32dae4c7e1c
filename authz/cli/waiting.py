"""A line for a person who waits."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

DELAY = 1.0
"""Seconds after which a person wonders whether anything happens."""


@contextmanager
def told_if_slow(text: str) -> Iterator[None]:
    """Print a line on standard error when the block takes longer than a second.

    Nothing is printed where standard error is not a terminal.

    Args:
        text: says what takes long, such as ``Envoy is checking the configuration``.
    """
    if not sys.stderr.isatty():
        yield
        return
    timer = threading.Timer(DELAY, click.echo, [f"authz: {text} …"], {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        # A line that is being printed now comes before what the command prints next.
        timer.join()
