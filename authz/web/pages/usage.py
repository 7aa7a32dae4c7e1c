"""Show requests and tokens by day, model and mode: the caller's own, or all to an owner."""

from datetime import UTC, date, datetime, timedelta

from starlette.responses import Response

from authz.identity.roles import is_owner
from authz.usage.store import Line
from authz.web.pages.chart import BOTTOM, HEIGHT, LEFT, WIDTH, stacked
from authz.web.pages.context import PageContext

_DAYS = (7, 30, 90)
_EPOCH = date(1970, 1, 1)


async def show_usage(context: PageContext) -> Response:
    """Show the usage of the last days. The query gives the number of days."""
    requested = context.request.query_params.get("days", "")
    count = int(requested) if requested in map(str, _DAYS) else 30
    shows_everyone = is_owner(context.caller)
    rows = await context.pages.usage.get()
    if rows is None:
        return context.show("usage.html", is_recorded=False)
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=ago) for ago in reversed(range(count))]
    since_ms = (days[0] - _EPOCH).days * 86_400_000
    user_id = None if shows_everyone else context.caller.id
    by_day = {line.key: line for line in await rows.by_day(since_ms, user_id)}
    lines = [
        by_day.get(key) or Line(key, 0, 0, 0, 0, 0, 0)
        for key in (str((day - _EPOCH).days) for day in days)
    ]
    groups = [("Model", "model"), ("Mode", "mode")]
    if shows_everyone:
        groups += [("User", "user"), ("Group", "group")]
    return context.show(
        "usage.html",
        is_recorded=True,
        shows_everyone=shows_everyone,
        day_counts=_DAYS,
        day_count=count,
        is_empty=not by_day,
        charts=[
            stacked("requests", "Requests by day", days, [[line.requests] for line in lines]),
            stacked(
                "tokens",
                "Tokens by day",
                days,
                [[line.input_tokens, line.output_tokens] for line in lines],
                ("in", "out"),
            ),
        ],
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "bottom": BOTTOM},
        days=[(day, line) for day, line in zip(days, lines, strict=True) if line.requests][::-1],
        groups=[(title, await rows.add_up(group, since_ms, user_id)) for title, group in groups],
    )
