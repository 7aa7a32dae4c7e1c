"""Show requests and tokens: the caller's own, or all to an owner."""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from starlette.responses import Response

from authz.budgets.money import about
from authz.identity.names import check_user_name
from authz.identity.roles import is_owner
from authz.usage.rows import Line
from authz.usage.store import UsageStore
from authz.web.pages.budgets import budgets_of_names
from authz.web.pages.chart import TOP, Chart, stacked
from authz.web.pages.context import PageContext
from authz.web.pages.responses import HEADERS, PageError, not_found
from authz.web.pages.times import ZONE_COOKIE, read_zone
from authz.web.pages.usage_table import (
    COLUMNS,
    COSTS,
    DAYS,
    EPOCH,
    OF_ALL,
    OF_ONE,
    View,
    as_csv,
    dated,
    read_view,
    total,
)

_SHOWN = 200
"""Lines of the table; the CSV has all of them."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The requests of a view.

    Attributes:
        user_id: of the user whose requests are summed up; None for all users.
        zone: the time zone in which days begin.
    """

    rows: UsageStore
    view: View
    shows_everyone: bool
    since_ms: int
    user_id: str | None
    zone: tzinfo

    async def by_day(self) -> list[Line]:
        """Return the sums of each day of the reader that has any, in order."""
        return await self.rows.by_day(self.since_ms, self.user_id, zone=self.zone)

    async def lines(self) -> list[Line]:
        """Return the sums by what the view names."""
        group = self.view.group or None
        if self.view.by == "day":
            return dated(await self.by_day())
        return await self.rows.add_up(self.view.by, self.since_ms, self.user_id, group=group)


async def show_usage(context: PageContext) -> Response:
    """Show the usage of the last days. The query says by what it is summed up, and the order."""
    asked = await _asked(context)
    if asked is None:
        return context.show("usage.html", is_recorded=False)
    view = asked.view
    has_prices = context.pages.config().prices is not None
    by_day = await asked.by_day()
    lines = view.apply(await asked.lines())
    all_lines = by_day
    if view.group:
        # The sums by day do not know of groups.
        all_lines = await asked.rows.add_up("mode", asked.since_ms, asked.user_id, group=view.group)
    return context.show(
        "usage.html",
        is_recorded=True,
        shows_everyone=asked.shows_everyone,
        view=view,
        choices=OF_ALL if asked.shows_everyone else OF_ONE,
        title=(OF_ALL if asked.shows_everyone else OF_ONE)[view.by],
        day_counts=DAYS,
        is_empty=not by_day,
        total=total(all_lines),
        zone=str(asked.zone),
        charts=_charts(by_day, asked.zone, has_prices=has_prices)
        if by_day and not view.group
        else [],
        top=TOP,
        columns=(*COLUMNS, *COSTS) if has_prices else COLUMNS,
        has_prices=has_prices,
        unpriced=await asked.rows.costs.missing(asked.since_ms, asked.user_id)
        if has_prices
        else [],
        budgets=await budgets_of_names(context, view.by),
        lines=lines[:_SHOWN],
        count=len(lines),
        shown=_SHOWN,
        groups=[group.name for group in await context.store.list_groups()]
        if asked.shows_everyone
        else [],
    )


async def download(context: PageContext) -> Response:
    """Return the lines of the table as CSV, all of them."""
    asked = await _asked(context)
    if asked is None:
        raise not_found()
    has_prices = context.pages.config().prices is not None
    text = as_csv(asked.view, asked.view.apply(await asked.lines()), has_prices=has_prices)
    name = f"usage-by-{asked.view.by}-{asked.view.days}-days.csv"
    disposition = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text, headers={**HEADERS, **disposition}, media_type="text/csv; charset=utf-8")


async def _asked(context: PageContext) -> _Asked | None:
    """Return what the query asks for, or None if requests are not recorded."""
    rows = await context.pages.usage.get()
    if rows is None:
        return None
    shows_everyone = is_owner(context.caller)
    view = read_view(context.request.query_params, shows_everyone=shows_everyone)
    if view.by == "day" and view.group:
        raise PageError(400, "Usage by day can't be limited to a group. Choose another sum.")
    zone = read_zone(context.request.cookies.get(ZONE_COOKIE, ""))
    day = datetime.now(zone).date() - timedelta(days=view.days - 1)
    first = datetime(day.year, day.month, day.day, tzinfo=zone)
    user_id = None if shows_everyone else context.caller.id
    if view.user:
        known = check_user_name(view.user) is None
        user = await context.store.find_user(view.user) if known else None
        if user is None:
            raise PageError(404, "There is no such user. Choose one from the list.")
        user_id = user.id
    return _Asked(rows, view, shows_everyone, int(first.timestamp()) * 1000, user_id, zone)


def _charts(by_day: list[Line], zone: tzinfo, *, has_prices: bool) -> list[Chart]:
    """Return the charts from the first day with requests until today."""
    found = {int(line.key): line for line in by_day}
    today = (datetime.now(zone).date() - EPOCH).days
    numbers = range(min(found), max(today, *found) + 1)
    lines = [found.get(number) or Line(str(number), 0, 0, 0, 0, 0, 0) for number in numbers]
    days = [EPOCH + timedelta(days=number) for number in numbers]
    tokens = [[line.input_tokens, line.output_tokens] for line in lines]
    served = [[line.requests - line.refusals, line.refusals] for line in lines]
    charts = [
        stacked("requests", "Requests by day", days, served, ("served", "refused")),
        stacked("tokens", "Tokens by day", days, tokens, ("in", "out")),
    ]
    if has_prices:
        costs = [[line.cost] for line in lines]
        charts.insert(0, stacked("cost", "Cost by day", days, costs, in_full=about, on_axis=about))
    return charts
