"""The audit log: for an owner all of it, for others what they did and what concerns them."""

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from authz.identity.audit import Entry
from authz.identity.roles import is_owner
from authz.web.pages.context import Visit

_DAYS = (1, 7, 30, 90)
_SHOWN = 500


async def show_audit(visit: Visit) -> Response:
    """Show the last days, as many as the query says, newest first."""
    asked = visit.request.query_params.get("days", "")
    count = int(asked) if asked in map(str, _DAYS) else 7
    since = datetime.now(UTC) - timedelta(days=count)
    everybody = is_owner(visit.caller)
    username = None
    if not everybody:
        username = visit.caller.username
        # Before that the name may have been somebody else's.
        since = max(since, visit.caller.created_at)
    entries = (await visit.store.audit_entries(since, username, _SHOWN + 1))[::-1]
    return visit.show(
        "audit.html",
        everybody=everybody,
        day_counts=_DAYS,
        day_count=count,
        lines=[_line(entry) for entry in entries[:_SHOWN]],
        shown=_SHOWN,
        are_left_out=len(entries) > _SHOWN,
    )


def _line(entry: Entry) -> dict[str, object]:
    actor, change = entry.actor, entry.change
    what = f"user {change.target}"
    if change.resource == "api_key":
        name = f"token {change.target}" if change.target else "session"
        what = f"{name} ({change.resource_id}) of {change.username}"
    return {
        "time": entry.time,
        "who": actor.name or actor.kind,
        "ip": actor.ip or "command line",
        "action": str(change.action).replace("_", " "),
        "what": what.strip(),
        "more": "; ".join(
            f"{name.replace('_', ' ')}: {_text(value)}"
            for name, value in change.fields.items()
            if value not in ({}, [], "")
        ),
    }


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
