"""Compute bar charts by day for a template, which needs no drawing library and no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 200, 64, 24, 12
_GAP = Fraction(1, 5)


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle. Lengths are in units of the view box.

    Attributes:
        series: index of the stacked value, from the bottom.
    """

    x: float
    y: float
    width: float
    height: float
    series: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A label of an axis: a value on the left, or a day below."""

    position: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        id: unique on the page.
        title: the title.
        description: the content in words, for screen readers.
        legend: names of the stacked values; empty if there is only one.
    """

    id: str
    title: str
    description: str
    legend: tuple[str, ...]
    bars: tuple[Bar, ...]
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
        title: the title.
        days: at least one day, in order.
        values: the stacked values of each day, from the bottom; none is negative.
        legend: names of the stacked values.
    """
    sums = [sum(of_day) for of_day in values]
    top = _round_up(max(sums))
    height = HEIGHT - BOTTOM - TOP
    step = Fraction(WIDTH - LEFT, len(days))
    bars: list[Bar] = []
    for index, of_day in enumerate(values):
        y = Fraction(HEIGHT - BOTTOM)
        for series, value in enumerate(of_day):
            length = Fraction(value * height, top)
            y -= length
            if value:
                x = LEFT + index * step + step * _GAP / 2
                bars.append(_bar(x, y, step * (1 - _GAP), length, series))
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
        bars=tuple(bars),
        values=tuple(
            Mark(round(float(HEIGHT - BOTTOM - height * share), 1), _short(int(top * share)))
            for share in (Fraction(0), Fraction(1, 2), Fraction(1))
        ),
        days=tuple(
            Mark(round(float(LEFT + (index + Fraction(1, 2)) * step), 1), f"{days[index]:%d %b}")
            for index in _labelled(len(days))
        ),
    )


def _bar(x: Fraction, y: Fraction, width: Fraction, height: Fraction, series: int) -> Bar:
    left, top, wide, high = (round(float(number), 2) for number in (x, y, width, height))
    return Bar(left, top, wide, high, series)


def _labelled(count: int) -> range:
    """Return the indexes of the days with a label: at most eight, so that labels do not overlap."""
    return range(0, count, -(-count // 8))


def _round_up(value: int) -> int:
    """Return the next of 2, 4, 10, 20, 40, 100 and so on, whose half is a whole number."""
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
