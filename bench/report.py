"""The report as text, whose tables are Markdown as well, and as JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from tabulate import tabulate

from bench.machine import QUIET, State, facts
from bench.samples import BUSY, Options
from bench.summary import Latency, Summary
from bench.variants import BASELINE
from bench.world import Streams


def as_json(
    summary: Summary, options: Options, streams: Streams, real: Streams, state: State
) -> str:
    """Return the report for programs, among them ``plot.py``."""
    values = {
        "machine": facts(),
        "before": asdict(state),
        "options": asdict(options) | asdict(streams),
        "realistic_request": asdict(real),
        **asdict(summary),
    }
    return json.dumps(values, indent=2, ensure_ascii=False)


def as_text(
    summary: Summary, options: Options, streams: Streams, real: Streams, state: State
) -> str:
    """Return the report for people."""
    about = ", ".join(f"{name} {value}" for name, value in facts().items())
    busy = " - too much to trust a tail" if summary.others > QUIET else ""
    parts = [
        f"{about}.\n"
        f"{options.rounds} rounds, {options.seconds:g} s per figure. Medians; ratios and added "
        "latency are taken within each round.\n"
        f"Before the run: {state}. Meanwhile other programs used {summary.others:.2f} "
        f"cores{busy}.",
        *([_realistic(summary, real)] if summary.realistic else []),
        _throughput(summary, options),
        *(_latency(summary, rate, found) for rate, found in summary.latency.items()),
    ]
    if summary.streaming:
        parts.append(_streaming(summary, streams))
    parts += [_memory(summary), _generator(summary)]
    if summary.left_out:
        parts.append(_left_out(summary.left_out))
    if summary.targets:
        parts.append(_targets(summary))
    return "\n\n".join(parts) + "\n"


def _realistic(summary: Summary, what: Streams) -> str:
    rows = [
        (
            summary.titles[name],
            " + ".join(f"{process} {value:,.1f}" for process, value in one.cpu_ms.items())
            if len(one.cpu_ms) > 1
            else next(iter(one.cpu_ms)),
            f"{one.cpu_ms_total:,.1f}",
            f"{one.cpu_ms_range[0]:,.1f} to {one.cpu_ms_range[1]:,.1f}",
            f"{one.times:,.2f}",
            f"{one.delay_ms['p50']:,.2f}",
            f"{one.delay_ms['p99']:,.2f}",
        )
        for name, one in summary.realistic.items()
    ]
    title = (
        f"A realistic request: a body of {what.body / 1000:,.0f} KB, and {what.events} events in "
        f"{what.events * what.interval:.0f} s; {what.streams} at once. CPU ms of the whole "
        "request, all processes; ms of an event from the provider to the client"
    )
    head = ("variant", "by process", "CPU ms", "range", "times no auth", "delay p50", "p99")
    return _table(title, head, rows)


def as_short_text(summary: Summary) -> str:
    """Return the realistic request for the README: a row for each variant."""
    rows = [
        (summary.titles[name], f"{one.cpu_ms_total:,.1f} ms", f"{one.times:,.2f}")
        for name, one in summary.realistic.items()
    ]
    head = ("", "CPU, all processes", "over Envoy alone")
    align = ("left", "right", "right")
    table = tabulate(rows, head, tablefmt="github", colalign=align, disable_numparse=True)
    if summary.others <= QUIET:
        return table
    others = f"{summary.others:.1f} cores of other work"
    return f"{table}\n\nMeasured beside {others}: trust the order, not the digits."


def _throughput(summary: Summary, options: Options) -> str:
    rows = [
        (
            summary.titles[name],
            _by_process(one.cpu_us),
            f"{one.cpu_us_total:,.0f}",
            f"{one.cpu_us_range[0]:,.0f} to {one.cpu_us_range[1]:,.0f}",
            f"{1 / one.cpu_ratio:.2f}",
            f"{one.cpu_ratio:.3f}",
            f"{one.requests_per_second:,.0f}",
            f"{one.rate_ratio:.3f}",
        )
        for name, one in summary.throughput.items()
    ]
    head = ("variant", "by process", "CPU µs", "range", "times no auth", "no auth over this")
    title = f"{options.connections} connections, all {BUSY}: CPU µs per request, and requests/s"
    return _table(title, (*head, "requests/s", "over no auth"), rows)


def _latency(summary: Summary, rate: str, variants: dict[str, Latency]) -> str:
    rows = [
        (
            summary.titles[name],
            f"{one.p50_ms:.2f}",
            f"{one.p99_ms:.2f}",
            "" if name == BASELINE else f"{one.added_p50_ms:.2f}",
            "" if name == BASELINE else f"{one.added_p99_ms:.2f}",
            f"{one.times_p50:.2f}",
            f"{sum(one.cpu_us.values()):,.0f}",
        )
        for name, one in variants.items()
    ]
    head = ("variant", "p50 ms", "p99 ms", "added p50", "added p99", "p50 times no auth", "CPU µs")
    return _table(f"{int(rate):,} requests/s on a fixed schedule: latency and CPU", head, rows)


def _streaming(summary: Summary, streams: Streams) -> str:
    rows = [
        (
            summary.titles[name],
            f"{one.first_ms['p50']:,.1f}",
            f"{one.first_ms['p99']:,.1f}",
            f"{one.times_first:,.2f}",
            f"{one.gap_ms['p50']:,.1f}",
            f"{one.gap_ms['p99']:,.1f}",
            f"{one.times_gap:.3f}",
            f"{one.delay_ms['p50']:,.2f}",
            f"{one.delay_ms['p99']:,.2f}",
            f"{one.times_delay:,.2f}",
            f"{one.cpu_us:,.0f}",
            f"{one.times_cpu:,.2f}",
            f"{one.seconds:.1f}",
        )
        for name, one in summary.streaming.items()
    ]
    title = (
        f"{streams.streams} open streams, {streams.events} events each, sent every "
        f"{streams.interval * 1000:.0f} ms: ms to the first event, between two events, and from "
        "the provider to the client; CPU µs per event"
    )
    head = ("variant", "first p50", "p99", "times", "gap p50", "p99", "times", "delay p50", "p99")
    table = _table(title, (*head, "times", "CPU µs", "times", "seconds in all"), rows)
    direct = summary.direct_ms
    return (
        f"{table}\n\nStraight from the provider, medians: first {direct['first']:.1f} ms, "
        f"gap {direct['gap']:.1f}, delay {direct['delay']:.2f}."
    )


def _memory(summary: Summary) -> str:
    rows = [
        (
            summary.titles[name],
            f"{one.start:.0f}",
            f"{one.end:.0f}",
            "-" if one.streaming is None else f"{one.streaming:.0f}",
            f"{one.times:.2f}",
            "-" if one.authz is None else f"{one.authz[0]:.0f}, {one.authz[1]:.0f}",
        )
        for name, one in summary.memory.items()
    ]
    head = ("variant", "at the start", "after the requests", "most with open streams")
    title = "Memory in MB, all processes of the variant"
    return _table(title, (*head, "times no auth", "of it authz, start and end"), rows)


def _generator(summary: Summary) -> str:
    fastest = max(one.requests_per_second for one in summary.throughput.values())
    return (
        f"The load generator: {summary.ceiling:,.0f} requests/s straight to the provider, "
        f"{summary.ceiling / fastest:.1f} times the fastest variant; "
        f"{summary.generator_us:.0f} µs per request; at a fixed rate it sent at most "
        f"{summary.late_p99_ms:.2f} ms late (p99)."
    )


def _left_out(peers: Mapping[str, str]) -> str:
    return "Not measured:\n\n" + "\n".join(f"- {name}: {why}" for name, why in peers.items())


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


def _by_process(values: Mapping[str, float]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return " + ".join(f"{name} {value:,.0f}" for name, value in values.items())
