"""Bar charts by day, as numbers for a template: no drawing library and no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 200, 64, 24, 12
_GAP = Fraction(1, 5)


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle; all lengths are in units of the view box.

    Attributes:
        series: which of the stacked values it is, from the bottom.
    """

    x: float
    y: float
    width: float
    height: float
    series: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A line and its text: of a value on the left, or of a day below."""

    position: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        id: unique on the page.
        title: what it shows.
        description: the same in words, for whoever does not see it.
        legend: names of the stacked values; empty for one.
    """

    id: str
    title: str
    description: str
    legend: tuple[str, ...]
    parts: tuple[Part, ...]
    values: tuple[Mark, ...]
    days: tuple[Mark, ...]


def stacked(
    chart_id: str,
    title: str,
    days: Sequence[date],
    values: Sequence[Sequence[int]],
    legend: tuple[str, ...] = (),
) -> Chart:
    """Return a chart with a bar for each day.

    Args:
        chart_id: unique on the page.
        title: what it shows.
        days: at least one, in order.
        values: for each day its stacked values, not negative, from the bottom.
        legend: what the stacked values are.
    """
    sums = [sum(of_day) for of_day in values]
    top = _round_up(max(sums))
    height = HEIGHT - BOTTOM - TOP
    step = Fraction(WIDTH - LEFT, len(days))
    parts: list[Part] = []
    for index, of_day in enumerate(values):
        y = Fraction(HEIGHT - BOTTOM)
        for series, value in enumerate(of_day):
            length = Fraction(value * height, top)
            y -= length
            if value:
                x = LEFT + index * step + step * _GAP / 2
                parts.append(_part(x, y, step * (1 - _GAP), length, series))
    busiest = max(range(len(days)), key=lambda index: sums[index])
    description = (
        f"{title} from {days[0]} to {days[-1]}: {sum(sums):,} in all, the most on {days[busiest]} "
        f"with {sums[busiest]:,}."
        if any(sums)
        else f"{title} from {days[0]} to {days[-1]}: none."
    )
    return Chart(
        id=chart_id,
        title=title,
        description=description,
        legend=legend,
        parts=tuple(parts),
        values=tuple(
            Mark(round(float(HEIGHT - BOTTOM - height * share), 1), _short(int(top * share)))
            for share in (Fraction(0), Fraction(1, 2), Fraction(1))
        ),
        days=tuple(
            Mark(round(float(LEFT + (index + Fraction(1, 2)) * step), 1), f"{days[index]:%d %b}")
            for index in _named(len(days))
        ),
    )


def _part(x: Fraction, y: Fraction, width: Fraction, height: Fraction, series: int) -> Part:
    left, top, wide, high = (round(float(number), 2) for number in (x, y, width, height))
    return Part(left, top, wide, high, series)


def _named(count: int) -> range:
    """Return the days that are named: at most eight, or they run into each other."""
    return range(0, count, -(-count // 8))


def _round_up(value: int) -> int:
    """Return 2, 4, 10, 20, 40, 100 and so on, so that half of it is whole."""
    top = 1
    while True:
        for factor in (2, 4, 10):
            if value <= top * factor:
                return top * factor
        top *= 10


def _short(value: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return str(value)
