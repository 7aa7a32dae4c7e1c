"""Parameters of the commands for tokens: columns of a list, lifetimes and durations."""

from datetime import timedelta
from typing import Any

import click

from authz import lifetimes

COLUMNS = (
    "id",
    "name",
    "scopes",
    "allow list",
    "last used",
    "expires at",
    "created at",
    "limited to",
    "owner",
)
"""The columns of ``authz tokens list``: those of ``coder tokens list``, the limits, the owner."""


class Columns(click.ParamType[tuple[str, ...]]):
    """Names of columns on the command line, separated by commas."""

    name = "columns"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the names; an unknown name is wrong usage."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip().lower() for name in value.split(","))
        if not set(names) <= set(COLUMNS):
            self.fail(f"must be among {', '.join(COLUMNS)}", param, ctx)
        return names


class Lifetime(click.ParamType[timedelta]):
    """A lifetime on the command line, such as ``30d``."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the lifetime; a bad one is wrong usage."""
        if isinstance(value, timedelta):
            return value
        try:
            return lifetimes.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Overlap(Lifetime):
    """A duration on the command line that may be zero, such as ``1h``."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the duration; a bad one is wrong usage."""
        if isinstance(value, timedelta):
            return value
        try:
            return lifetimes.parse_duration(value)
        except ValueError:
            # The reason is of a setting, which may also be a bare number.
            self.fail("not a duration: write for example 0s, 1h or 1d", param, ctx)
