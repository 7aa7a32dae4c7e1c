"""List, create, suspend and delete users, and set their roles, as ``coder users`` does."""

from starlette.responses import Response

from authz.errors import StoreError
from authz.identity import roles
from authz.identity.accounts import ORGANIZATION_ID, User, role_title
from authz.identity.names import check_email, check_full_name, check_user_name
from authz.identity.passwords import check_password
from authz.identity.store_users import UserTaken
from authz.secret import Secret
from authz.web.api.call import UserCall
from authz.web.api.errors import ApiError, empty, json_response, not_found, rate_limited
from authz.web.api.models import CreateUser, UpdatePassword, UpdateRoles
from authz.web.api.user_search import UserSearch, read_search
from authz.web.sign_in import LIMITED_TOKEN, PASSWORDS_OFF, PasswordRefused, TooManySignIns

PAGE_MAX = 1000
"""The most users in one response. Writing a longer one would delay the checks of requests."""
_NO_ORGANIZATION = "00000000-0000-0000-0000-000000000000"
_NOT_CREATED = "Failed to create user."
_TWO_ROLES = "give one role only; owner includes user-admin"


async def list_users(call: UserCall) -> Response:
    """List the users whom the caller may see, by name."""
    limit, offset = number(call, "limit") or PAGE_MAX, number(call, "offset")
    query = call.request.query_params
    try:
        search = read_search(query.get("q", ""))
    except ValueError as error:
        raise ApiError(400, "Invalid user search query.", validations={"q": str(error)}) from None
    limit, after = min(limit, PAGE_MAX), query.get("after_id", "")
    if not call.access.sees_all_users:
        found = [call.caller]
    elif search == UserSearch() and not after:
        page = await call.store.some_users(offset, limit)
        return _listed(page, await call.store.count_users())
    else:
        found = await call.store.list_users()
    found = [user for user in found if search.matches(user)]
    count = len(found)
    if after:
        ids = [user.id for user in found]
        found = found[ids.index(after) + 1 :] if after in ids else []
    return _listed(found[offset : offset + limit], count)


async def create_user(call: UserCall) -> Response:
    """Create a person or a service account."""
    _check_manager(call)
    body = await call.read(CreateUser)
    is_service = body.service_account
    password = Secret(body.password) if body.password else None
    problems = {
        "username": check_user_name(body.username),
        "email": check_email(body.email) if body.email else None,
        "name": check_full_name(body.name),
        "login_type": _login_type_problem(body),
        "organization_ids": _organization_problem(body),
        "user_status": None
        if body.user_status in (None, "", "active", "dormant")
        else "leave it empty: a new user is active",
    }
    if password is not None:
        problems["password"] = (
            "a service account can't sign in; leave out the password"
            if is_service
            else check_password(password, body.username)
        )
    elif not is_service and body.login_type in ("", "password") and not body.disable_login:
        problems["password"] = "give a password, or set login_type to none"  # noqa: S105 - a text
    if wrong := {field: text for field, text in problems.items() if text}:
        raise ApiError(400, "Validation failed.", validations=wrong)
    role = _role_of(body.roles or [])
    if not roles.may_give(call.caller, roles.check_role(role)):
        raise ApiError(403, "Only an owner can give roles.")
    try:
        user = await call.store.create_user(
            body.username,
            body.email or None,
            service_account=is_service,
            role=role,
            full_name=body.name,
            password=password,
        )
    except UserTaken as error:
        raise ApiError(
            409,
            "User already exists.",
            validations={error.field: "This value is already in use and should be unique."},
        ) from None
    return json_response(201, user.as_json())


async def suspend_user(call: UserCall) -> Response:
    """Suspend a user. The user's next request is refused."""
    user = await _managed(call, "You cannot suspend yourself.")
    return json_response(200, (await call.store.set_status(user, "suspended")).as_json())


async def activate_user(call: UserCall) -> Response:
    """Activate a suspended or dormant user."""
    user = await _managed(call, "You cannot change your own status.")
    return json_response(200, (await call.store.set_status(user, "active")).as_json())


async def delete_user(call: UserCall) -> Response:
    """Delete a user with all their tokens. The next request with one is refused."""
    user = await _managed(call, "You cannot delete yourself!")
    await call.store.delete_user(user)
    return json_response(200, {"message": "User has been deleted!"})


async def set_password(call: UserCall) -> Response:
    """Set a password. It ends the user's sessions, apart from the caller's own."""
    body = await call.read(UpdatePassword)
    if (user := await call.target()).id == call.caller.id:
        return await _set_own_password(call, body)
    _check_manager(call)
    if not roles.may_manage(call.caller, user):
        raise not_found()
    if not call.services.config().sign_in.passwords:
        raise ApiError(400, PASSWORDS_OFF)
    if user.is_service_account or user.login_type == "oidc":
        raise ApiError(400, "Users without password login can't change their password.")
    password = Secret(body.password)
    if problem := check_password(password, user.username):
        raise ApiError(400, "Invalid password.", validations={"password": problem})
    await call.store.set_password(user, password)
    return empty()


async def _set_own_password(call: UserCall, body: UpdatePassword) -> Response:
    if call.is_limited:
        raise ApiError(403, LIMITED_TOKEN)
    old, new = Secret(body.old_password), Secret(body.password)
    try:
        await call.services.sign_in.change_password(
            call.store, call.authenticated, old, new, call.peer
        )
    except TooManySignIns as error:
        raise rate_limited(error.seconds) from None
    except PasswordRefused as error:
        raise ApiError(400, "Invalid password.", validations={error.field: str(error)}) from None
    return empty()


async def list_roles(call: UserCall) -> Response:
    """List the roles of the site, and whether the caller may give them."""
    may_give = roles.is_owner(call.caller) and not call.is_limited
    return json_response(
        200,
        [
            {
                "name": role,
                "display_name": role_title(role),
                "organization_id": "",
                "site_permissions": [],
                "organization_permissions": [],
                "user_permissions": [],
                "assignable": may_give,
                "built_in": True,
            }
            for role in roles.STORED
        ],
    )


async def show_roles(call: UserCall) -> Response:
    """Return the roles of a user."""
    user = await call.target()
    return json_response(200, {"roles": list(user.roles), "organization_roles": {}})


async def set_roles(call: UserCall) -> Response:
    """Set or remove the role of a user, from the next call on."""
    user = await _managed(call, "You cannot change your own roles.")
    if not roles.is_owner(call.caller):
        raise ApiError(403, "Only an owner can give roles.")
    role = _role_of((await call.read(UpdateRoles)).roles)
    return json_response(200, (await call.store.set_role(user, role)).as_json())


def _listed(users: list[User], count: int) -> Response:
    return json_response(200, {"users": [user.as_json() for user in users], "count": count})


def _check_manager(call: UserCall) -> None:
    if call.is_limited:
        raise ApiError(403, LIMITED_TOKEN)
    if not roles.may_manage_users(call.caller):
        raise ApiError(403, "Only an owner or a user administrator can do this.")


async def _managed(call: UserCall, self_error: str) -> User:
    """Return the user in the path, if the caller may change them.

    Users can't change themselves: an owner who suspends or demotes themselves can't undo it.
    """
    user = await call.target()
    _check_manager(call)
    if user.id == call.caller.id:
        raise ApiError(400, self_error)
    if not roles.may_manage(call.caller, user):
        raise not_found()
    return user


def _role_of(given: list[str]) -> str:
    """Return the role in a list, which may name one; ``member`` means no role."""
    named = sorted(set(given) - {roles.MEMBER})
    if len(named) > 1:
        raise ApiError(400, "Validation failed.", validations={"roles": _TWO_ROLES})
    role = named[0] if named else roles.MEMBER
    try:
        roles.check_role(role)
    except StoreError as error:
        raise ApiError(400, "Validation failed.", validations={"roles": str(error)}) from None
    return role


def _login_type_problem(body: CreateUser) -> str | None:
    if body.login_type in ("", "password", "none"):
        return None
    return "use password or none"


def _organization_problem(body: CreateUser) -> str | None:
    given = {*(body.organization_ids or ()), *([body.organization_id or _NO_ORGANIZATION])}
    return "there is no such organization" if given - {ORGANIZATION_ID, _NO_ORGANIZATION} else None


def number(call: UserCall, name: str) -> int:
    """Return a number in the query, 0 if it is absent.

    Raises:
        ApiError: 400 for anything else.
    """
    text = call.request.query_params.get(name, "") or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ApiError(
            400,
            "Query parameters have invalid values.",
            validations={name: "give a number of 0 or more"},
        )
    return int(text)
