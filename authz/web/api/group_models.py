"""Define the bodies of the calls about groups, as Coder's SDK sends and reads them."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import StrictInt, StrictStr

from authz.web.api.models import AskedRules, Body, Rules


class ReducedUser(Body):
    """A member of a group."""

    id: UUID
    username: str
    name: str
    email: str
    avatar_url: str
    status: Literal["active", "dormant", "suspended"]
    login_type: str
    created_at: datetime
    updated_at: datetime
    last_seen_at: datetime
    theme_preference: str


class Group(Body):
    """A group of users.

    Attributes:
        members: the first 1,000, where one group is shown; else empty.
        source: ``user`` for a local group, ``oidc`` for one of an identity provider.
        issuer: the URL of the identity provider, which authz adds; empty for a local group.
        rules: the limits of the members, which authz adds.
    """

    id: UUID
    name: str
    display_name: str
    organization_id: UUID
    organization_name: str
    organization_display_name: str
    members: list[ReducedUser]
    total_member_count: int
    avatar_url: str
    quota_allowance: int
    source: Literal["user", "oidc"]
    issuer: str
    rules: Rules


class CreateGroup(Body):
    """The properties of a new group.

    Attributes:
        display_name: optional.
        avatar_url: accepted for compatibility, not stored.
        quota_allowance: accepted for compatibility, not stored.
        issuer: of the identity provider that chooses the members; absent for a local group.
        rules: the limits of the members.
    """

    name: StrictStr
    display_name: StrictStr = ""
    avatar_url: StrictStr = ""
    quota_allowance: StrictInt = 0
    issuer: StrictStr = ""
    rules: AskedRules | None = None


class UpdateGroup(Body):
    """Changes of a group; what is absent stays.

    Attributes:
        name: an empty one stays as it is, as in Coder.
        add_users: UUIDs or names.
        remove_users: UUIDs or names.
        avatar_url: accepted for compatibility, not stored.
        quota_allowance: accepted for compatibility, not stored.
        rules: the new limits of the members; null or empty removes the limits.
    """

    name: StrictStr = ""
    display_name: StrictStr | None = None
    add_users: list[StrictStr] | None = None
    remove_users: list[StrictStr] | None = None
    avatar_url: StrictStr | None = None
    quota_allowance: StrictInt | None = None
    rules: AskedRules | None = None


class Members(Body):
    """A page of the members of a group.

    Attributes:
        count: number of all members.
    """

    users: list[ReducedUser]
    count: int


class Answer(Body):
    """The answer to whether a user may use a provider in a mode.

    Attributes:
        reasons: sentences, each about one rule or setting.
    """

    mode: Literal["centralized", "byok"]
    allowed: bool
    reasons: list[str]
