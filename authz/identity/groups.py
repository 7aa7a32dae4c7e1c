"""Groups of the store, their names, and their JSON in the format of Coder's API."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authz.core.groups import Group
from authz.core.rules import TokenRules, read_rules
from authz.core.tokens import has_token_shape
from authz.database.interface import Row
from authz.errors import StoreError
from authz.identity.accounts import ORGANIZATION_ID
from authz.printable import printable

LOCAL = ""
"""The source of a group whose members people choose."""
MAX_GROUPS = 200
"""The most groups of one source that a sign-in may give to a user."""


class GroupRefused(StoreError):  # noqa: N818 - the web answers it with a status of its own
    """A change of a group that is not possible; the text is for a person."""


class GroupTaken(GroupRefused):
    """Another group of the same source has the name."""


_LOCAL_NAME = re.compile(r"[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*")
_LOCAL_LENGTH, _NAME_LENGTH, _DISPLAY_LENGTH = 64, 128, 128
_RESERVED = ("new", "create")
_DIGEST_LENGTH = 8


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A group.

    Attributes:
        id: a UUID.
        name: unique within its source, ignoring case.
        display_name: empty if the group has none.
        source: ``LOCAL``, or the issuer's URL of the identity provider that chooses the members.
        rules: the limits of the members.
        member_count: the number of members who are not deleted.
    """

    id: str
    name: str
    display_name: str
    source: str
    created_at: datetime
    updated_at: datetime
    rules: TokenRules
    member_count: int

    @classmethod
    def of(cls, row: Row) -> "GroupRecord":
        """Return the group of a row with the columns of ``GROUP_COLUMNS``."""
        values = [row[f"group_{column}"] for column in _GROUP]
        values += (read_rules(row["group_authz_rules"]), int(row["group_members"]))
        return cls(*values)

    @property
    def is_local(self) -> bool:
        """Return whether people choose the members, not an identity provider."""
        return self.source == LOCAL

    @property
    def limits(self) -> Group:
        """The part that limits what a member may do."""
        return Group(self.name, self.rules)

    def as_json(self) -> dict[str, Any]:
        """Return the group object of Coder's API, without its members.

        ``rules`` and ``issuer`` are additions that Coder's clients ignore.
        """
        return {
            "id": self.id,
            "name": self.name,
            "display_name": self.display_name,
            "organization_id": ORGANIZATION_ID,
            "organization_name": "default",
            "organization_display_name": "Default",
            "avatar_url": "",
            "quota_allowance": 0,
            "source": "user" if self.is_local else "oidc",
            "issuer": self.source,
            "total_member_count": self.member_count,
            "rules": self.rules.as_json(),
        }


_GROUP = ("id", "name", "display_name", "source", "created_at", "updated_at")
GROUP_COLUMNS = (
    ", ".join(f"g.{column} AS group_{column}" for column in (*_GROUP, "authz_rules"))  # noqa: S608 - constants
    + ", (SELECT count(*) FROM group_members m JOIN users mu ON mu.id = m.user_id"
    " WHERE m.group_id = g.id AND mu.deleted = false) AS group_members"
)
"""The columns that ``GroupRecord.of`` reads from ``groups g``."""


def check_group_name(name: str) -> str | None:
    """Return the problem with the name of a local group, or None. The text does not quote it."""
    if has_token_shape(name):
        return "this name looks like a token, but names are not secret: choose another one"
    if len(name) > _LOCAL_LENGTH or _LOCAL_NAME.fullmatch(name) is None:
        return (
            f"a group name has at most {_LOCAL_LENGTH} letters and digits, with single hyphens "
            "inside"
        )
    if name.lower() in _RESERVED:
        return f"a group can't be called {' or '.join(_RESERVED)}: choose another name"
    return None


def check_display_name(name: str) -> str | None:
    """Return the problem with a display name, or None. The name may be empty."""
    if len(name) > _DISPLAY_LENGTH or not name.isprintable() or name != name.strip():
        return f"a display name has at most {_DISPLAY_LENGTH} printable characters"
    return None


def clean_name(name: str) -> str:
    """Return the name of an identity provider's group as it is stored; it may be empty.

    Two names that differ stay different: a long one keeps its beginning and gets a digest.
    """
    text = printable(" ".join(name.split()), len(name))
    if len(text) <= _NAME_LENGTH:
        return text
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    return f"{text[: _NAME_LENGTH - _DIGEST_LENGTH - 1]}-{digest}"


def clean_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names of an identity provider's groups by their ``folded`` form.

    Raises:
        GroupRefused: there are more than ``MAX_GROUPS``. To leave some out could widen what the
            user may do, because a group may be the one that limits them.
    """
    cleaned = (clean_name(name) for name in names)
    found = {folded(name): name for name in cleaned if name}
    if len(found) > MAX_GROUPS:
        raise GroupRefused(
            f"the identity provider names {len(found)} groups of this user, the most is "
            f"{MAX_GROUPS}: let it send only the groups that matter here"
        )
    return found


def folded(name: str) -> str:
    """Return the name in lower case, by the rule of the databases: only ASCII letters change."""
    return name.encode("utf-8", "replace").lower().decode()
