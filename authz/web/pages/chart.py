"""Compute bar charts by day for a template, which needs no drawing library and no script.

Lengths are percentages of the plot, so that a chart fits every width and its texts keep their size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

TOP = 14
"""The percentage above the highest bar, in which the value of a chosen day is written."""
_GAP = Fraction(1, 5)
_WIDEST = 7
"""A day takes at most this percentage of the width."""
_LABELS = 8
_EDGE = 12
"""Texts in this percentage at each side do not have their middle at the bar."""


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of a day.

    Attributes:
        series: index of the stacked value, from the bottom.
    """

    y: float
    height: float
    series: int


@dataclass(frozen=True, slots=True)
class Column:
    """A day.

    Attributes:
        x: the left side of the space of the day.
        step: the width of this space.
        bar_x: the left side of its bar.
        width: of its bar.
        middle: of both.
        anchor: SVG's ``text-anchor`` of a text at ``text_x``.
        text: the day and its values in words.
        parts: the stacked values.
    """

    x: float
    step: float
    bar_x: float
    width: float
    middle: float
    anchor: str
    text_x: float
    text: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A label of an axis: a value on the left, or a day below.

    Attributes:
        is_minor: whether a narrow screen leaves it out.
    """

    position: float
    text: str
    anchor: str = "middle"
    is_minor: bool = False


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
    columns: tuple[Column, ...]
    values: tuple[Mark, ...]
    days: tuple[Mark, ...]


def count(value: int) -> str:
    """Return a number in full."""
    return f"{value:,}"


def short(value: int) -> str:
    """Return a number for an axis, such as ``2 M``."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return str(value)


def stacked(
    chart_id: str,
    title: str,
    days: Sequence[date],
    values: Sequence[Sequence[int]],
    legend: tuple[str, ...] = (),
    *,
    in_full: Callable[[int], str] = count,
    on_axis: Callable[[int], str] = short,
) -> Chart:
    """Return a chart with a bar for each day.

    Args:
        chart_id: unique on the page.
        title: the title.
        days: at least one day, in order.
        values: the stacked values of each day, from the bottom; none is negative.
        legend: names of the stacked values.
        in_full: returns the text of a value of a day.
        on_axis: returns the text of a value on the axis.
    """
    sums = [sum(of_day) for of_day in values]
    top = _round_up(max(sums))
    step = min(Fraction(100, len(days)), Fraction(_WIDEST))
    columns = tuple(
        _column(index * step, step, values[index], top, _words(day, values[index], legend, in_full))
        for index, day in enumerate(days)
    )
    busiest = max(range(len(days)), key=lambda index: sums[index])
    description = (
        f"{title} from {days[0]} to {days[-1]}: {in_full(sum(sums))} in all, "
        f"the most on {days[busiest]} with {in_full(sums[busiest])}."
        if any(sums)
        else f"{title} from {days[0]} to {days[-1]}: none."
    )
    return Chart(
        id=chart_id,
        title=title,
        description=description,
        legend=legend,
        columns=columns,
        values=tuple(
            Mark(_percent(100 - (100 - TOP) * share), on_axis(int(top * share)))
            for share in (Fraction(1), Fraction(1, 2), Fraction(0))
        ),
        days=tuple(
            _day_mark(columns[index], days[index], is_minor=place % 2 > 0)
            for place, index in enumerate(_labelled(len(days)))
        ),
    )


def _day_mark(column: Column, day: date, *, is_minor: bool) -> Mark:
    return Mark(column.text_x, f"{day:%d %b}", column.anchor, is_minor)


def _words(
    day: date, values: Sequence[int], legend: tuple[str, ...], in_full: Callable[[int], str]
) -> str:
    texts = [
        f"{in_full(value)} {name}".rstrip()
        for value, name in zip(values, legend or ("",), strict=True)
    ]
    return f"{day:%d %b}: {', '.join(texts)}"


def _column(x: Fraction, step: Fraction, values: Sequence[int], top: int, text: str) -> Column:
    parts: list[Part] = []
    y = Fraction(100)
    for series, value in enumerate(values):
        length = Fraction(value * (100 - TOP), top)
        y -= length
        if value:
            parts.append(Part(_percent(y), _percent(length), series))
    middle = x + step / 2
    anchor, text_x = "middle", middle
    if middle < _EDGE:
        anchor, text_x = "start", x
    elif middle > 100 - _EDGE:
        anchor, text_x = "end", x + step
    return Column(
        x=_percent(x),
        step=_percent(step),
        bar_x=_percent(x + step * _GAP / 2),
        width=_percent(step * (1 - _GAP)),
        middle=_percent(middle),
        anchor=anchor,
        text_x=_percent(text_x),
        text=text,
        parts=tuple(parts),
    )


def _percent(value: Fraction) -> float:
    return round(float(value), 3)


def _labelled(days: int) -> range:
    """Return the indexes of the days with a label: few, so that labels do not overlap."""
    return range(0, days, max(-(-days // _LABELS), 2 if days > _LABELS // 2 else 1))


def _round_up(value: int) -> int:
    """Return the next of 2, 4, 10, 20, 40, 100 and so on, whose half is a whole number."""
    top = 1
    while True:
        for factor in (2, 4, 10):
            if value <= top * factor:
                return top * factor
        top *= 10
