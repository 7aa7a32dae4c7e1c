"""Define the bodies of the token API, as Coder's SDK sends and reads them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

_INT64 = 2**63 - 1
_Limit = Annotated[list[StrictStr], Field(min_length=1)]


class Body(BaseModel):
    """A body, whose unknown fields are ignored."""

    # Coder ignores unknown fields.
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class Validation(Body):
    """A problem with one field."""

    field: str
    detail: str


class Error(Body):
    """The body of every error."""

    message: str
    detail: str | None = None
    validations: list[Validation] | None = None


class Message(Body):
    """The body of a success that has only a message."""

    message: str


class Role(Body):
    """A site-wide role."""

    name: Literal["owner", "user-admin"]
    display_name: str


class User(Body):
    """A user."""

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
    organization_ids: list[UUID]
    roles: list[Role]
    theme_preference: str
    is_service_account: bool


class Users(Body):
    """A page of users.

    Attributes:
        count: number of all users that match.
    """

    users: list[User]
    count: int


class CreateUser(Body):
    """The properties of a new user.

    Attributes:
        email: optional.
        name: a person's full name.
        password: required unless ``login_type`` is ``none``.
        login_type: ``password`` (the default) or ``none``.
        disable_login: older name for a ``login_type`` of ``none``.
        service_account: a user for a machine, who can't sign in.
        roles: at most one.
        user_status: accepted for compatibility; a new user is active.
        organization_ids: accepted for compatibility; there is one organization.
        organization_id: older name of ``organization_ids``.
    """

    username: StrictStr
    email: StrictStr = ""
    name: StrictStr = ""
    password: StrictStr = ""
    login_type: StrictStr = ""
    disable_login: StrictBool = False
    service_account: StrictBool = False
    roles: list[StrictStr] | None = None
    user_status: StrictStr | None = None
    organization_ids: list[StrictStr] | None = None
    organization_id: StrictStr | None = None


class UserRoles(Body):
    """The roles of a user; ``organization_roles`` is always empty."""

    roles: list[str]
    organization_roles: dict[UUID, list[str]]


class UpdatePassword(Body):
    """A new password.

    Attributes:
        old_password: the current one. Required when users change their own.
    """

    old_password: StrictStr = ""
    password: StrictStr


class UpdateRoles(Body):
    """The new roles of a user: at most one."""

    roles: list[StrictStr]


class AssignableRole(Body):
    """A role, and whether the caller may give it to users."""

    name: str
    display_name: str
    organization_id: str
    site_permissions: list[str]
    organization_permissions: list[str]
    user_permissions: list[str]
    assignable: bool
    built_in: bool


class Organization(Body):
    """The one organization, of which every user is a member."""

    id: UUID
    name: str
    display_name: str
    description: str
    icon: str
    is_default: bool
    created_at: datetime
    updated_at: datetime


class AllowListElement(Body):
    """An entry of an allow list, as some of Coder's clients send it instead of ``type:id``."""

    type: StrictStr
    id: StrictStr


class Rules(Body):
    """The limits of a token. authz adds them; Coder's clients ignore them.

    Attributes:
        providers: allowed providers, by the name in the URL; absent allows all.
        modes: allowed modes, ``centralized`` and ``byok``; absent allows both.
    """

    providers: list[StrictStr] | None = None
    modes: list[StrictStr] | None = None


class AskedRules(Body):
    """The limits of a new token, as ``Rules``.

    A misspelt or empty limit is an error: ignoring it would allow more than the caller asked for.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    providers: _Limit | None = None
    modes: _Limit | None = None


class Key(Body):
    """The record of a token or session, without its secret."""

    id: Annotated[str, Field(min_length=10, max_length=10)]
    user_id: UUID
    last_used: datetime
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    login_type: str
    scope: str
    scopes: list[str]
    token_name: str
    lifetime_seconds: int
    allow_list: list[str]
    rules: Rules


class ListedKey(Key):
    """A token with the name of its owner."""

    username: str


class CreateToken(Body):
    """The properties of a new token, all of them optional.

    Attributes:
        lifetime: in nanoseconds; 0 or absent gives the default of 168 hours.
        token_name: unique among the user's tokens; empty or absent gives two random words.
        scopes: only ``coder:all`` (or ``all``).
        scope: older name of ``scopes``.
        allow_list: only ``*:*``.
        rules: limits, which authz adds.
    """

    lifetime: Annotated[StrictInt, Field(ge=-_INT64 - 1, le=_INT64)] | None = None
    token_name: StrictStr | None = None
    scopes: list[StrictStr] | None = None
    scope: StrictStr | None = None
    allow_list: list[AllowListElement | StrictStr] | None = None
    rules: AskedRules | None = None


class RotateToken(Body):
    """The properties of a rotation, all of them optional.

    Attributes:
        overlap: how long the old token works beside the new one, in nanoseconds; absent gives an
            hour.
    """

    overlap: Annotated[StrictInt, Field(ge=0, le=_INT64)] | None = None


class NewKey(Body):
    """The text of a new token. It is returned once."""

    key: Annotated[str, Field(pattern="^[0-9A-Za-z]{10}-[0-9A-Za-z]{22}$")]


class OwnKey(Body):
    """A stored provider key, without the key.

    Attributes:
        hint: the last four characters of the key; empty for a short one.
    """

    provider: StrictStr
    hint: StrictStr
    created_at: datetime
    updated_at: datetime


class SetOwnKey(Body):
    """A provider key to store."""

    key: StrictStr


class TokenConfig(Body):
    """The longest lifetime of a user's tokens, in nanoseconds."""

    max_token_lifetime: int


class BuildInfo(Body):
    """The version of the server. It needs no token.

    Attributes:
        version: the Coder release whose API this is.
        authz_version: the version of authz, which authz adds.
    """

    external_url: str
    version: str
    dashboard_url: str
    telemetry: bool
    workspace_proxy: bool
    agent_api_version: str
    provisioner_api_version: str
    upgrade_message: str
    deployment_id: str
    authz_version: str


class Login(Body):
    """A sign-in with a password.

    Attributes:
        email: the user's e-mail address. authz also accepts the user name.
    """

    email: StrictStr
    password: StrictStr


class LoggedIn(Body):
    """A new session's token."""

    session_token: str


def field_errors(errors: list[Any]) -> dict[str, str]:
    """Return pydantic's errors as Coder's validations, without any value from the request."""
    found: dict[str, str] = {}
    for error in errors:
        # The location of an unknown field ends with its name, which comes from the request.
        location = error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"]
        found[".".join(str(part) for part in location)] = error["msg"]
    return found
