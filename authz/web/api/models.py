"""Bodies of the token API, as Coder's SDK knows them (``coder-contract.md`` section 6)."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

_INT64 = 2**63 - 1
_Limit = Annotated[list[StrictStr], Field(min_length=1)]


class _Body(BaseModel):
    # Go's decoder ignores what it does not know.
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class Validation(_Body):
    """What is wrong with one field."""

    field: str
    detail: str


class Error(_Body):
    """Every answer that is no success."""

    message: str
    detail: str | None = None
    validations: list[Validation] | None = None


class Message(_Body):
    """A success that needs saying."""

    message: str


class Role(_Body):
    """A site-wide role."""

    name: Literal["owner", "user-admin"]
    display_name: str


class User(_Body):
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


class Users(_Body):
    """A part of the users.

    Attributes:
        count: how many there are in all.
    """

    users: list[User]
    count: int


class CreateUser(_Body):
    """What a new user shall be.

    Attributes:
        email: may be left out.
        name: a person's full name.
        password: needed unless ``login_type`` is ``none``.
        login_type: ``password``, which is the default, or ``none``.
        disable_login: the older name of ``login_type`` ``none``.
        service_account: a machine's user, who has no sign-in.
        roles: at most one.
        user_status: a new user is active.
        organization_ids: there is one organization.
        organization_id: the older name of ``organization_ids``.
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


class UserRoles(_Body):
    """The roles of a user; ``organization_roles`` is always empty."""

    roles: list[str]
    organization_roles: dict[UUID, list[str]]


class UpdateRoles(_Body):
    """The roles that a user shall have: at most one."""

    roles: list[StrictStr]


class AssignableRole(_Body):
    """A role, and whether the caller may give it to somebody."""

    name: str
    display_name: str
    organization_id: str
    site_permissions: list[str]
    organization_permissions: list[str]
    user_permissions: list[str]
    assignable: bool
    built_in: bool


class Organization(_Body):
    """The organization that every user is in."""

    id: UUID
    name: str
    display_name: str
    description: str
    icon: str
    is_default: bool
    created_at: datetime
    updated_at: datetime


class AllowListElement(_Body):
    """What a token may be used on, as some of Coder's clients write ``type:id``."""

    type: StrictStr
    id: StrictStr


class Rules(_Body):
    """What a token is limited to; an addition of authz, which Coder's clients ignore.

    Attributes:
        providers: names as in the URL; absent is every provider.
        modes: ``centralized``, ``byok``; absent is every mode.
    """

    providers: list[StrictStr] | None = None
    modes: list[StrictStr] | None = None


class AskedRules(_Body):
    """What a new token shall be limited to, as ``Rules``.

    A misspelt or empty limit is refused: to ignore it would make the token wider than was asked.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    providers: _Limit | None = None
    modes: _Limit | None = None


class Key(_Body):
    """The record of a token or session; never its secret."""

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
    """A key with its owner's name."""

    username: str


class CreateToken(_Body):
    """What a new token shall be; everything is optional.

    Attributes:
        lifetime: nanoseconds; 0 or absent is the default of 168 hours.
        token_name: unique among the user's tokens; empty or absent is two random words.
        scopes: only ``coder:all`` (or ``all``).
        scope: the older name of ``scopes``.
        allow_list: only ``*:*``.
        rules: an addition of authz.
    """

    lifetime: Annotated[StrictInt, Field(ge=-_INT64 - 1, le=_INT64)] | None = None
    token_name: StrictStr | None = None
    scopes: list[StrictStr] | None = None
    scope: StrictStr | None = None
    allow_list: list[AllowListElement | StrictStr] | None = None
    rules: AskedRules | None = None


class NewKey(_Body):
    """The text of a new token, which is shown once."""

    key: Annotated[str, Field(pattern="^[0-9A-Za-z]{10}-[0-9A-Za-z]{22}$")]


class TokenConfig(_Body):
    """The longest lifetime of a user's tokens, in nanoseconds."""

    max_token_lifetime: int


class BuildInfo(_Body):
    """What answers; no sign-in is needed to know it.

    Attributes:
        version: the release of Coder whose API this is.
        authz_version: an addition of authz.
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


class Login(_Body):
    """A sign-in with a password.

    Attributes:
        email: the user's e-mail address or, as an addition, name.
    """

    email: StrictStr
    password: StrictStr


class LoggedIn(_Body):
    """A new session's token."""

    session_token: str


def field_errors(errors: list[Any]) -> dict[str, str]:
    """Return pydantic's errors as Coder's validations: field and text, without what was given."""
    found: dict[str, str] = {}
    for error in errors:
        # The last part of an unknown field's place is what was given.
        place = error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"]
        found[".".join(str(part) for part in place)] = error["msg"]
    return found
