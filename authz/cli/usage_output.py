"""Output of ``authz usage``: sums, costs, and models without a price."""

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal

import click

from authz.budgets.money import about, decimal_dollars
from authz.cli.common import print_rows
from authz.config.settings import Config
from authz.prices.current import open_book
from authz.printable import csv_cell
from authz.usage.costs import Unpriced
from authz.usage.entry import Tokens
from authz.usage.rows import Line

_SHOWN = 5
"""Models without a price in one line."""
_ONE_TOKEN = Tokens(input=1, output=1)


def show(lines: list[Line], by: str, output: str, since: str, *, shows_cost: bool) -> None:
    """Print sums as a table, JSON or CSV.

    Args:
        by: the property by which they are sums.
        output: ``table``, ``json`` or ``csv``.
        since: the age of the first request, as the person wrote it.
        shows_cost: add costs, the highest first.
    """
    if shows_cost:
        lines = sorted(lines, key=lambda line: line.cost + line.own_cost, reverse=True)
    objects = [{by: line.key, **_values(line, shows_cost=shows_cost)} for line in lines]
    if output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([by, *_values(Line("", 0, 0, 0, 0, 0, 0), shows_cost=shows_cost)])
        writer.writerows(map(csv_cell, map(_text, one.values())) for one in objects)
        return
    if output == "json":
        click.echo(json.dumps(objects, indent=2, default=float))
        return
    rows = [
        {
            by.upper(): line.key or "-",
            "REQUESTS": f"{line.requests:,}",
            "REFUSED": f"{line.refusals:,}",
            "TOKENS IN": f"{line.input_tokens:,}",
            "CACHED": f"{line.cached_tokens:,}",
            "TOKENS OUT": f"{line.output_tokens:,}",
            "NOT KNOWN": f"{line.unknown:,}",
            **(_costs(line) if shows_cost else {}),
        }
        for line in lines
    ]
    print_rows(rows, objects, "table", f"No requests were recorded in the last {since}.")


def _values(line: Line, *, shows_cost: bool) -> dict[str, object]:
    values: dict[str, object] = {
        key: value
        for key, value in asdict(line).items()
        if key not in ("key", "cost", "own_cost", "unpriced")
    }
    if shows_cost:
        values["cost_usd"] = decimal_dollars(line.cost)
        values["own_cost_usd"] = decimal_dollars(line.own_cost)
        values["unpriced"] = line.unpriced
    return values


def _text(value: object) -> str:
    # A small amount would have an exponent.
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _costs(line: Line) -> dict[str, str]:
    return {
        "COST": about(line.cost),
        "OWN KEYS": about(line.own_cost),
        "NO PRICE": f"{line.unpriced:,}",
    }


def tell_unpriced(unpriced: Sequence[Unpriced], config: Config) -> None:
    """Print which models have no price, and which requests have no cost for another reason."""
    book = open_book(config)
    if book is None:
        click.echo(
            "Costs are not computed: add the section prices to gateway.yaml, which may be empty "
            "(prices: {}).",
            err=True,
        )
        return
    unknown = [
        one
        for one in unpriced
        if not one.model or book.cost(one.provider, one.model, _ONE_TOKEN, one.last_ms) is None
    ]
    if unknown:
        names = [f"{one.provider}/{one.model or '(no name)'} ({one.requests:,})" for one in unknown]
        more = len(names) - _SHOWN
        shown = ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        click.echo(
            f"These models have no price: {shown}. Set one in prices.overrides, and run "
            "'authz usage price' for their past requests.",
            err=True,
        )
    later = sum(one.requests for one in unpriced) - sum(one.requests for one in unknown)
    if later:
        click.echo(
            f"{later:,} requests were recorded before their price was known: "
            "'authz usage price' computes their cost.",
            err=True,
        )
