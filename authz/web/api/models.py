"""Bodies of the token API, as Coder's SDK knows them (``coder-contract.md`` section 6)."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

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


class AllowListElement(_Body):
    """What a token may be used on; here always everything."""

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
    allow_list: list[AllowListElement]
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
        allow_list: only everything.
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
    """What answers; no sign-in is needed to know it."""

    external_url: str
    version: str
    dashboard_url: str
    telemetry: bool
    workspace_proxy: bool
    agent_api_version: str
    provisioner_api_version: str
    upgrade_message: str
    deployment_id: str


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
