"""The tables of ``docs/sizing.md`` as Markdown; see ``bench.sizing``."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

if TYPE_CHECKING:
    from bench.sizing import Assumed, Costs

_USERS = (100, 10_000, 1_000_000)
_ANSWER = 10_000
_RATES = (10, 100, 1_000, 10_000)
_CONNECTIONS = 5
"""Of an authz process that records usage in the same PostgreSQL and has nothing else switched on
(``authz.serve.connections``)."""


def sections(costs: "Costs", assumed: "Assumed", grown: Any) -> dict[str, str]:
    """Return the text of each section of the page."""
    return {
        "costs": _costs(costs, assumed),
        "rates": (
            f"Planned: {assumed.per_process:,} requests per second for each authz process, cores"
            f" that are busy to {assumed.load:.0%}, and responses of {assumed.events} events"
            f" that take {assumed.stream_seconds:g} s.\n\n{_by_rate(costs, assumed)}"
        ),
        "users": (
            f"Assumed: in the busiest hour the agents of {assumed.active_share:.0%} of the users"
            f" work, each makes {assumed.requests_per_minute:g} requests a minute, and the busiest"
            f" second has {assumed.burst:g} times the mean.\nThat is {assumed.of_user:.3f} requests"
            f" per second for each user.\nA day has {assumed.hours_per_day:g} such hours, so each"
            f" user makes {assumed.per_day:,.0f} requests.\nA user has {assumed.tokens_per_user}"
            f" tokens and, while working, uses {assumed.models_per_user} models in an hour; usage"
            f" is kept for {assumed.keep_days} days.\nResponses and the planned load of cores are"
            f" those of the table above.\n\n{_by_users(costs, assumed)}\n\n"
            f"{_answer(costs, assumed)}"
        ),
        **_bounds(grown),
    }


def _costs(costs: "Costs", assumed: "Assumed") -> str:
    busy: list[tuple[str, float | None, float]] = [
        ("Envoy", costs.envoy, costs.envoy_busy),
        ("authz", costs.authz, costs.authz_busy),
        ("PostgreSQL: the look-up and the usage row", costs.postgres, costs.postgres),
    ]
    if costs.nginx_busy is not None:
        busy.append(("for comparison: nginx with a Python authenticator", None, costs.nginx_busy))
    events = [
        ("Envoy with authentication and usage", costs.event),
        ("Envoy alone", costs.event_alone),
        ("for comparison: nginx with a Python authenticator", costs.event_nginx),
    ]
    memory = [
        ("Envoy, at rest", f"{costs.envoy_mb:,.0f} MB"),
        ("Envoy, each open stream with its share of a connection", f"{costs.stream_kb:,.0f} KB"),
        ("authz, each process", f"{costs.authz_mb:,.0f} MB"),
    ]
    head = ("CPU µs of a request", f"at {assumed.per_process:,}/s", "every connection busy")
    return "\n\n".join(
        (
            _table(head, [(name, _number(one), _number(other)) for name, one, other in busy]),
            _table(
                ("CPU µs of a streamed event, with its share of the request", ""),
                [(name, _number(one)) for name, one in events if one is not None],
            ),
            _table(("memory", ""), memory),
        )
    )


def _by_rate(costs: "Costs", assumed: "Assumed") -> str:
    rows = []
    for rate in _RATES:
        processes = _processes(rate, assumed)
        rows.append(
            (
                f"{rate:,}",
                _cores(rate * costs.envoy, assumed),
                _cores(rate * assumed.events * costs.event, assumed),
                _size(costs.envoy_mb * 1e6 + _streams(rate, assumed) * costs.stream_kb * 1024),
                f"{processes} with {_cores(rate / processes * costs.authz, assumed)}",
                _size(processes * costs.authz_mb * 1e6),
                _cores(rate * costs.postgres, assumed),
                f"{processes * _CONNECTIONS:,}",
            )
        )
    head = (
        *("requests/s", "Envoy cores, short", "Envoy cores, streamed", "Envoy memory, streamed"),
        *("authz processes, cores of each", "authz memory", "PostgreSQL cores", "connections"),
    )
    return _table(head, rows)


def _by_users(costs: "Costs", assumed: "Assumed") -> str:
    rows = []
    for users in _USERS:
        rate = users * assumed.of_user
        requests = users * assumed.per_day
        # Each working user has a sum for each hour and model, for as long as the rows.
        hours = (
            users * assumed.active_share * assumed.hours_per_day * assumed.models_per_user
        ) * assumed.keep_days
        tokens = users * assumed.tokens_per_user
        rows.append(
            (
                f"{users:,}",
                f"{rate:,.0f}",
                _cores(rate * assumed.events * costs.event, assumed),
                f"{_processes(rate, assumed)}",
                f"{_streams(rate, assumed):,}",
                _size(tokens * costs.token),
                f"{requests:,.0f}",
                _size(requests * costs.row),
                _size(requests * costs.row * assumed.keep_days),
                _size(hours * costs.hour_row + users * assumed.models_per_user * costs.series),
                f"{ceil(rate / (costs.rows_per_second * assumed.load))}",
            )
        )
    head = (
        *("users", "requests/s", "Envoy cores, streamed", "authz processes", "open streams"),
        *("tokens on disk", "usage rows a day", "disk a day", f"in {assumed.keep_days} days"),
        *("sums", "usage databases"),
    )
    return _table(head, rows)


def _answer(costs: "Costs", assumed: "Assumed") -> str:
    """Return what to buy for the users of the middle row, in a list."""
    rate, processes = _ANSWER * assumed.of_user, _processes(_ANSWER * assumed.of_user, assumed)
    streamed = _cores(rate * assumed.events * costs.event, assumed)
    memory = costs.envoy_mb * 1e6 + _streams(rate, assumed) * costs.stream_kb * 1024
    authz = _cores(rate / processes * costs.authz, assumed)
    disk = _ANSWER * assumed.per_day * costs.row * assumed.keep_days
    return (
        f"So {_ANSWER:,} users need, with cores that are busy to {assumed.load:.0%}:\n\n"
        f"- Envoy: {streamed} cores if every response is streamed, and {_size(memory)} of memory.\n"
        f"- authz: {processes} processes with {authz} cores"
        f" and {_size(costs.authz_mb * 1e6)} of memory each.\n"
        f"- PostgreSQL: {_cores(rate * costs.postgres, assumed)} cores, {_size(disk)} of disk for"
        f" usage and {processes * _CONNECTIONS} connections."
    )


def _bounds(grown: Any) -> dict[str, str]:
    few, many = grown["tokens"][0], grown["tokens"][-1]
    rates = [
        ("requests with a budget: reserved and settled, 64 together", grown["budgets"]),
        ("requests recorded as usage, 2,000 together", grown["usage"]),
        ("requests with a shared limit, 64 together", grown["limits"]),
        *(
            (f"look-ups among {one['tokens']:,} tokens, 32 together", one)
            for one in grown["tokens"]
        ),
    ]
    about = ", ".join(f"{name} {value}" for name, value in grown["machine"].items())
    work = _table(
        (
            *("one PostgreSQL and one authz process", "a second, by CPU"),
            *("CPU µs of PostgreSQL", "of authz"),
        ),
        [(name, *_numbers(one)) for name, one in rates],
    )
    return {
        "work": (
            f"{work}\n\nA look-up among {many['tokens']:,} tokens, scattered over all of them,"
            f" takes {many['postgres_us'] / few['postgres_us']:.1f} times the CPU of PostgreSQL"
            f" and {many['authz_us'] / few['authz_us']:.2f} times that of authz.\n"
            f"{about}; load average {grown['load_before']:.1f} before and"
            f" {grown['load_after']:.1f} after the run."
        ),
        "disk": _table(
            ("on disk", "bytes"),
            [
                ("a token with a tenth of its user, PostgreSQL", f"{many['bytes']:,.0f}"),
                ("a usage row with indexes, PostgreSQL", f"{grown['usage']['row_bytes']:,.0f}"),
                ("the same, SQLite", f"{grown['usage_sqlite']['row_bytes']:,.0f}"),
                ("a sum for an hour", f"{grown['usage']['hours_bytes']:,.0f}"),
                ("a series: user, token, model, …", f"{grown['usage']['series_bytes']:,.0f}"),
            ],
        ),
        "copies": _table(
            (
                *("budgets and as many assigned limits", "authz: cores of each process"),
                *("PostgreSQL: cores for each process", "authz: CPU ms after a change"),
            ),
            [
                (
                    f"{one['rows']:,}",
                    f"{one['authz_cores']:.4f}",
                    f"{one['postgres_cores']:.4f}",
                    f"{one['change_ms']:.0f}",
                )
                for one in grown["copies"]
            ],
        ),
        "memory": _table(
            ("distinct tokens that one authz process has checked", "MB more"),
            [(f"{one['tokens']:,}", f"{one['mb']:.0f}") for one in grown["memory"]],
        ),
        "notify": _table(
            ("processes that listen", "CPU µs of PostgreSQL for a change"),
            [(one["listeners"], f"{one['postgres_us']:,.0f}") for one in grown["notify"]],
        ),
    }


def by_cpu(one: Any) -> float:
    """Return what a second has room for if both sides take turns and nothing else runs."""
    return 1e6 / float(one["postgres_us"] + one["authz_us"])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _numbers(one: Any) -> tuple[str, str, str]:
    return (
        f"{by_cpu(one):,.0f}",
        f"{one['postgres_us']:.0f}",
        f"{one['authz_us']:.0f}",
    )


def _processes(rate: float, assumed: "Assumed") -> int:
    """Return the number of authz processes; two, so that one may fail."""
    return max(2, ceil(rate / assumed.per_process))


def _streams(rate: float, assumed: "Assumed") -> int:
    return ceil(rate * assumed.stream_seconds)


def _cores(us_per_second: float, assumed: "Assumed") -> str:
    cores = us_per_second / 1e6 / assumed.load
    if cores < 0.01:
        return "< 0.01"
    return f"{cores:.2f}" if cores < 1 else f"{cores:,.1f}" if cores < 10 else f"{cores:,.0f}"


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1_000:
            return f"{count:.3g} {unit}"
        count /= 1_000
    return f"{count:,.3g} TB"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    numbers = ["left", *("right" for _ in head[1:])]
    return str(
        tabulate(list(rows), head, tablefmt="github", colalign=numbers, disable_numparse=True)
    )
