"""The refusal of a request whose limit is reached."""

from authz.core.decision_types import Deny, refuse
from authz.core.identity import Identity
from authz.core.refusals import Reason
from authz.limits.limit import Limit, LimitKind, Owner, Reached
from authz.limits.window import whole_seconds
from authz.printable import printable

_REASONS = {
    LimitKind.REQUESTS: Reason.REQUESTS_LIMITED,
    LimitKind.TOKENS: Reason.TOKENS_LIMITED,
    LimitKind.CONCURRENT: Reason.CONCURRENCY_LIMITED,
}


def refusal_of(reached: Reached, identity: Identity) -> Deny:
    """Return the refusal, which names the limit and says when there is room again."""
    limit = reached.limit
    # A request in progress may end at any time.
    seconds = whole_seconds(reached.wait_ms)
    fields = {"owner": _owner(limit), "most": limit.most, "seconds": seconds}
    return refuse(_REASONS[limit.kind], fields, identity, identity.token_id, seconds)


def _owner(limit: Limit) -> str:
    if limit.owner is Owner.TOKEN and not limit.name:
        return "this session"
    return f'{limit.owner} "{printable(limit.name)}"'
