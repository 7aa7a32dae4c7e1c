"""The project and the session that a client names in headers, for logs and usage.

They decide nothing. A client may send anything, so each user has a limited number of names a day.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from authz.check.ext_authz import Check
from authz.core.header_names import PROJECT, SESSION_HEADERS
from authz.core.tokens import without_tokens
from authz.printable import printable

OTHER = "other"
"""Stands for the names of a user beyond the limit of the day."""
MAX_LENGTH = 64
PROJECTS_PER_DAY = 100
SESSIONS_PER_DAY = 1_000
NAMES_PER_DAY = 100_000
"""The limit of all users together, for the memory of a process."""

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Tags:
    """The names in a request; empty where there are none."""

    project: str = ""
    session: str = ""


NO_TAGS = Tags()


class TagReader:
    """Reads tags and limits the number of different ones in each process.

    Args:
        clock: the Unix time.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._day = 0
        self._count = 0
        self._known: dict[tuple[str, int], set[str]] = {}

    def read(self, check: Check, user_id: str) -> Tags:
        """Return the tags of a request.

        Args:
            check: the request.
            user_id: of the user whose request it is.
        """
        project = _project(check.header(PROJECT))
        session = next(filter(None, (_session(check.header(name)) for name in SESSION_HEADERS)), "")
        if not project and not session:
            return NO_TAGS
        return Tags(
            self._limited(project, user_id, PROJECTS_PER_DAY),
            self._limited(session, user_id, SESSIONS_PER_DAY),
        )

    def _limited(self, name: str, user_id: str, limit: int) -> str:
        if not name:
            return ""
        today = int(self._clock() // _DAY_SECONDS)
        if today != self._day:
            self._day, self._count = today, 0
            self._known.clear()
        known = self._known.setdefault((user_id, limit), set())
        if name in known:
            return name
        if len(known) >= limit or self._count >= NAMES_PER_DAY:
            return OTHER
        known.add(name)
        self._count += 1
        return name


def _project(text: str) -> str:
    # Masked first: a cut could leave half of a token, which is not recognized.
    return printable(without_tokens(text.strip()), MAX_LENGTH)


def _session(text: str) -> str:
    return text if _SESSION.fullmatch(text) and without_tokens(text) == text else ""
