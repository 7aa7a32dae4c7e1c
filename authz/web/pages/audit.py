"""Show the audit log: all of it to owners, and to others the entries that concern them."""

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from authz.identity.audit import Entry
from authz.identity.roles import is_owner
from authz.web.pages.context import PageContext

_DAYS = (1, 7, 30, 90)
_SHOWN = 500


async def show_audit(context: PageContext) -> Response:
    """Show the entries of the last days, newest first. The query gives the number of days."""
    requested = context.request.query_params.get("days", "")
    count = int(requested) if requested in map(str, _DAYS) else 7
    since = datetime.now(UTC) - timedelta(days=count)
    shows_everyone = is_owner(context.caller)
    username = None
    if not shows_everyone:
        username = context.caller.username
        # Before that, the name may have belonged to another user.
        since = max(since, context.caller.created_at)
    entries = (await context.store.audit_entries(since, username, _SHOWN + 1))[::-1]
    return context.show(
        "audit.html",
        shows_everyone=shows_everyone,
        day_counts=_DAYS,
        day_count=count,
        lines=[_line(entry) for entry in entries[:_SHOWN]],
        shown=_SHOWN,
        are_left_out=len(entries) > _SHOWN,
    )


def _line(entry: Entry) -> dict[str, object]:
    actor, change = entry.actor, entry.change
    subject = f"user {change.target}"
    if change.resource == "api_key":
        name = f"token {change.target}" if change.target else "session"
        subject = f"{name} ({change.resource_id}) of {change.username}"
    elif change.resource == "own_key":
        subject = f"key for {change.target} of {change.username}"
    elif change.resource == "budget":
        subject = f"budget of {change.fields.get('owner', '')} {change.target}"
    elif change.resource == "rule":
        rule = str(change.fields.get("kind", "rule")).replace("_", " ")
        subject = f"{rule} of {change.fields.get('owner', '')} {change.target}"
    elif change.resource == "group":
        member = f" and user {change.username}" if change.username else ""
        subject = f"group {change.target}{member}"
    return {
        "time": entry.time,
        "actor": actor.name or actor.kind,
        "ip": actor.ip or "command line",
        "action": str(change.action).replace("_", " "),
        "subject": subject.strip(),
        "details": "; ".join(
            f"{name.replace('_', ' ')}: {_text(value)}"
            for name, value in change.fields.items()
            if value not in ({}, [], "")
        ),
    }


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
