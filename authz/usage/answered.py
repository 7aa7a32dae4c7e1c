"""Records the requests of external gateways when authz answers their checks.

Who asked, and for what, is written down here and never read from the gateway's log, so that a
gateway can't invent a request or name another user.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from authz.check.metadata import logged_groups
from authz.check.tags import NO_TAGS, Tags
from authz.core.decision_types import Allow, Decision
from authz.usage.entry import Usage, UsageEntry

_RANDOM_BYTES = 16


class AnsweredRequests:
    """Gives the requests of external gateways ids, and records them.

    Args:
        record: takes each request.
    """

    def __init__(self, record: Callable[[UsageEntry], None]) -> None:
        self._record = record
        # Not the name in the ids of our own Envoy's requests: no other gateway may know that one.
        self._process = secrets.token_hex(6)

    def __call__(
        self, decision: Decision, provider: str, request_id: str, tags: Tags = NO_TAGS
    ) -> bytes:
        """Record a request and return its id.

        Each gateway sees the ids of its own requests, and must not be able to guess another.
        """
        entry_id = f"{self._process}-{secrets.token_hex(_RANDOM_BYTES)}"
        identity = decision.identity
        entry = UsageEntry(
            id=entry_id,
            time_ms=int(time.time() * 1000),
            decision="allow",
            status=0,
            usage=Usage.UNREPORTED,
            duration_ms=0,
            request_id=request_id or None,
            user_id=identity.user_id if identity else None,
            username=identity.name if identity else None,
            token_id=identity.token_id if identity else None,
            token_name=identity.token_name if identity else None,
            provider=provider,
            groups=logged_groups(identity) if identity else (),
            project=tags.project or None,
            session=tags.session or None,
        )
        if isinstance(decision, Allow):
            entry = replace(entry, mode=decision.mode)
        else:
            entry = replace(
                entry,
                decision="deny",
                status=decision.status,
                usage=Usage.REFUSED,
                reason=decision.reason,
                token_id=decision.token_id or entry.token_id,
            )
        self._record(entry)
        return entry_id.encode("ascii")
