"""Draws the figures of a report: ``plot.py FOLDER`` reads figures.json there and writes SVG files.

Run in an environment of its own, which has matplotlib; prints the Markdown that shows the plots.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

_OURS, _THEIRS, _SECOND = "#1f6feb", "#8b949e", "#f0883e"
_PAIR = "Envoy and authz"

Figures = dict[str, Any]


def _bars(
    file: Path,
    title: str,
    unit: str,
    rows: list[tuple[str, float, float | None]],
    names: tuple[str, str] = ("", ""),
) -> None:
    """Draw horizontal bars, one or two for each row, on a logarithmic axis."""
    rows = rows[::-1]  # the first row is at the top
    two = any(second is not None for _, _, second in rows)
    figure, axes = plt.subplots(figsize=(8.6, 1.1 + (0.5 if two else 0.34) * len(rows)))
    values = [value for _, *pair in rows for value in pair if value]
    height = 0.38 if two else 0.66
    for place, (label, first, second) in enumerate(rows):
        color = _OURS if label.startswith(_PAIR) else _THEIRS
        bars = [(first, place + (height / 2 if two else 0), color)]
        if second is not None:
            bars.append((second, place - height / 2, _SECOND))
        for value, where, paint in bars:
            axes.barh(where, value, height, color=paint)
            axes.annotate(
                f"{value:,.0f}" if value >= 100 else f"{value:.3g}",
                (value, where),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 2.5)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=9)
    legend = f"; grey or blue: {names[0]}, orange: {names[1]}" if two else ""
    axes.set_xlabel(f"{unit}, logarithmic{legend}", fontsize=9)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    print(f"![{title}]({file.parent.name}/{file.name})")


def draw(figures: Figures, folder: Path) -> None:
    """Draw everything that the report has figures for."""
    titles = figures["titles"]

    def rows(
        found: Figures, first: Callable[[Figures], float], second: Callable[[Figures], float | None]
    ) -> list[tuple[str, float, float | None]]:
        return [(titles[name], first(one), second(one)) for name, one in found.items()]

    whole = rows(figures["realistic"], lambda one: one["cpu_ms_total"], lambda _: None)
    if whole:
        title = "A realistic request: CPU of the whole request, all processes"
        _bars(folder / "realistic.svg", title, "ms", whole)
    busy = figures["throughput"]
    cpu = rows(busy, lambda one: one["cpu_us_total"], lambda _: None)
    _bars(folder / "cpu.svg", "CPU per request, all processes, every connection busy", "µs", cpu)
    rate = rows(busy, lambda one: one["requests_per_second"], lambda _: None)
    _bars(folder / "requests.svg", "Requests per second, every connection busy", "1/s", rate)
    both = ("median", "99th percentile")
    for at, found in figures["latency"].items():
        latency = rows(found, lambda one: one["p50_ms"], lambda one: one["p99_ms"])
        _bars(folder / f"latency-{at}.svg", f"Latency at {at} requests/s", "ms", latency, both)
    streams = f"{figures['options']['streams']} open streams"
    for name, what in (
        ("first", "time to the first event"),
        ("gap", "time between events"),
        ("delay", "from the provider to the client"),
    ):
        times = rows(
            figures["streaming"],
            lambda one, key=f"{name}_ms": one[key]["p50"],  # type: ignore[misc]
            lambda one, key=f"{name}_ms": one[key]["p99"],  # type: ignore[misc]
        )
        if times:
            _bars(folder / f"streams-{name}.svg", f"{streams}: {what}", "ms", times, both)
    memory = rows(figures["memory"], lambda one: one["end"], lambda one: one["streaming"])
    names = ("after the requests", "with open streams")
    _bars(folder / "memory.svg", "Resident memory, all processes", "MB", memory, names)


if __name__ == "__main__":
    plt.rcParams |= {"svg.hashsalt": "bench", "svg.fonttype": "none", "font.family": "sans-serif"}
    where = Path(sys.argv[1])
    for old in where.glob("*.svg"):
        old.unlink()  # a plot of a rate that nothing was measured at any more
    draw(json.loads((where / "figures.json").read_text()), where)
