"""The tables of ``docs/sizing.md``, calculated from measured figures: ``python -m bench.sizing``.

It reads ``figures.json`` of ``python -m bench`` and ``growth.json`` of ``python -m bench.growth``,
and measures nothing. With ``--docs docs`` it writes them into the page, as ``make bench`` does.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from bench import growth, sizing_tables
from bench.docs import PLOTS, replace_section
from bench.world import BenchError

PAGE = "sizing.md"
_DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True)
class Assumed:
    """Assumptions about the users, which are not measured.

    Attributes:
        active_share: the share of all users whose agent works in the busiest hour.
        requests_per_minute: of a working agent, which answers tools between its requests.
        burst: the busiest second over the mean of the busiest hour.
        hours_per_day: the requests of a day over those of its busiest hour.
        events: the streamed events of a response.
        stream_seconds: the duration of a response.
        tokens_per_user: the tokens that a user keeps.
        models_per_user: the models that a working user uses in an hour.
        keep_days: ``usage.keep_days``.
        load: the share of a core that is planned for; the rest is for the failure of a replica.
        per_process: requests per second planned for each Envoy worker and each authz process.
    """

    active_share: float = 0.25
    requests_per_minute: float = 4.0
    burst: float = 2.0
    hours_per_day: float = 6.0
    events: int = 300
    stream_seconds: float = 20.0
    tokens_per_user: int = 2
    models_per_user: int = 2
    keep_days: int = 90
    load: float = 0.5
    per_process: int = 1_000

    @property
    def of_user(self) -> float:
        """Requests per second of each user at the peak."""
        return self.active_share * self.requests_per_minute / 60 * self.burst

    @property
    def per_day(self) -> float:
        """Requests of each user in a day."""
        return self.active_share * self.requests_per_minute * 60 * self.hours_per_day


@dataclass(frozen=True)
class Costs:
    """Measured figures; CPU in microseconds.

    Attributes:
        envoy, authz, postgres: of a request at ``Assumed.per_process`` requests per second, or at
            the nearest measured rate. ``postgres`` is for the look-up and the row.
        envoy_busy, authz_busy: the same with every connection busy, the least that it can cost.
        nginx_busy: of nginx with a Python authenticator, for comparison; None if not measured.
        event, event_alone, event_nginx: of a streamed event, with its share of the request.
        envoy_mb, authz_mb: memory of a process.
        stream_kb: memory of Envoy for an open stream, from ``tests/e2e/test_memory.py``.
        rows_per_second: that one PostgreSQL records, by its CPU and that of the writer.
        row, hour_row, series, token: bytes in PostgreSQL; ``token`` includes its share of a user.
    """

    envoy: float
    authz: float
    postgres: float
    envoy_busy: float
    authz_busy: float
    nginx_busy: float | None
    event: float
    event_alone: float
    event_nginx: float | None
    envoy_mb: float
    authz_mb: float
    rows_per_second: float
    row: float
    hour_row: float
    series: float
    token: float
    stream_kb: float = 49

    @classmethod
    def read(cls, figures: Any, grown: Any, rate: int) -> "Costs":
        """Take the figures from the two files."""
        rates = [key for key, one in figures["latency"].items() if "postgresql" in one]
        nearest = min(rates, key=lambda key: abs(int(key) - rate))
        at_rate = figures["latency"][nearest]["postgresql"]["cpu_us"]
        busy = figures["throughput"]["postgresql"]["cpu_us"]
        nginx, event = figures["throughput"].get("nginx"), _event_costs(figures)
        memory = figures["memory"]["postgresql"]
        return cls(
            envoy=at_rate["envoy"],
            authz=at_rate["authz"],
            postgres=grown["tokens"][-1]["postgres_us"] + grown["usage"]["postgres_us"],
            envoy_busy=busy["envoy"],
            authz_busy=busy["authz"],
            nginx_busy=nginx["cpu_us_total"] if nginx else None,
            event=event["authz"],
            event_alone=event["envoy"],
            event_nginx=event.get("nginx"),
            envoy_mb=figures["memory"]["envoy"]["end"],
            authz_mb=memory["authz"][1],
            rows_per_second=sizing_tables.by_cpu(grown["usage"]),
            row=grown["usage"]["row_bytes"],
            hour_row=grown["usage"]["hours_bytes"],
            series=grown["usage"]["series_bytes"],
            token=grown["tokens"][-1]["bytes"],
        )


def _event_costs(figures: Any) -> dict[str, float]:
    """Return the CPU of a streamed event with its share of the request, by variant.

    It is that of the realistic request if the run has one, and else that of the open streams.
    """
    if realistic := figures.get("realistic"):
        events = figures["realistic_request"]["events"]
        return {name: one["cpu_ms_total"] * 1000 / events for name, one in realistic.items()}
    return {name: one["cpu_us"] for name, one in figures["streaming"].items()}


def calculate(folder: Path, assumed: Assumed | None = None) -> dict[str, str]:
    """Return the tables, by section of the page, from the figures in a folder of docs.

    Raises:
        BenchError: a file or a figure is missing.
    """
    assumed = assumed or Assumed()
    try:
        figures = json.loads((folder / PLOTS / "figures.json").read_text())
        grown = json.loads((folder / PLOTS / growth.FILE).read_text())
        costs = Costs.read(figures, grown, assumed.per_process)
    except OSError as error:
        raise BenchError(
            f"{error.filename}: {error.strerror}: run python -m bench.growth"
        ) from None
    except (KeyError, ValueError) as error:
        raise BenchError(f"a figure is missing: {error}: run make bench") from None
    return sizing_tables.sections(costs, assumed, grown)


def renew(folder: Path, assumed: Assumed | None = None) -> None:
    """Write the tables into ``sizing.md`` in a folder.

    Raises:
        BenchError: a file or a figure is missing.
    """
    for name, text in calculate(folder, assumed).items():
        replace_section(folder / PAGE, f"sizing.{name}", text)


def _option(name: str, default: Any) -> Callable[[Any], Any]:
    positive: click.ParamType[Any] = click.FloatRange(min=0, min_open=True)
    if isinstance(default, int):
        positive = click.IntRange(min=1)
    return click.option(
        f"--{name.replace('_', '-')}", type=positive, default=default, show_default=True
    )


@click.command()
@click.option(
    "--docs",
    "folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Write the tables into sizing.md in this folder, in place of printing them.",
)
def main(*, folder: Path | None, **assumed: Any) -> None:
    """Calculate the tables of sizing.md. The other options are what is assumed of the users."""
    try:
        if folder is not None:
            renew(folder, Assumed(**assumed))
        else:
            print("\n\n".join(calculate(_DOCS, Assumed(**assumed)).values()))
    except BenchError as error:
        sys.exit(f"bench: {error}")


for _one in fields(Assumed):
    main = _option(_one.name, _one.default)(main)


if __name__ == "__main__":
    main(prog_name="python -m bench.sizing")
