"""Users, for owners and user administrators."""

from datetime import UTC, datetime

from starlette.responses import Response

from authz import lifetimes
from authz.errors import StoreError
from authz.identity import roles
from authz.identity.accounts import User
from authz.identity.names import check_email, check_user_name
from authz.identity.passwords import check_password
from authz.secret import Secret
from authz.web.pages.context import Visit
from authz.web.pages.forms import one
from authz.web.pages.paging import COUNT, first_of, part
from authz.web.pages.responses import PageError, not_found, see

_ROLES = (roles.MEMBER, *roles.STORED)


async def show_users(visit: Visit) -> Response:
    """Show all users."""
    _check_manager(visit)
    first = first_of(visit.request)
    return visit.show(
        "users.html", part=part(await visit.store.some_users(first, COUNT + 1), first)
    )


async def show_new(visit: Visit) -> Response:
    """Show the form of a new user."""
    _check_manager(visit)
    return _form(visit)


async def create(visit: Visit) -> Response:
    """Make a person or a service account."""
    _check_manager(visit)
    name, email, role = visit.given("name"), visit.given("email"), visit.given("role")
    role = role or roles.MEMBER
    problems: dict[str, str] = {}
    if (problem := check_user_name(name)) is not None:
        problems["name"] = problem
    elif await visit.store.find_user(name) is not None:
        problems["name"] = "There is a user of this name: choose another."
    if email and (problem := check_email(email)) is not None:
        problems["email"] = problem
    elif await visit.store.find_user_by_email(email) is not None:
        problems["email"] = "Another user has this address."
    _check_may_give(visit, role)
    if problems:
        return _form(visit, problems, 400)
    is_service = visit.given("kind") == "service"
    user = await visit.store.create_user(name, email or None, service_account=is_service, role=role)
    return see(f"/users/{user.id}")


async def show_user(visit: Visit) -> Response:
    """Show a user, with what the caller may do to them."""
    _check_manager(visit)
    return await _user_page(visit, await visit.target())


async def set_status(visit: Visit) -> Response:
    """Suspend or activate a user; it counts for the next request."""
    user = await _managed_user(visit)
    status = visit.given("status")
    if status not in ("active", "suspended"):
        raise PageError(400, "A user is active or suspended.")
    await visit.store.set_status(user, status)
    return see(f"/users/{user.id}")


async def set_role(visit: Visit) -> Response:
    """Give a user a role."""
    user = await _managed_user(visit)
    role = visit.given("role")
    _check_may_give(visit, role)
    if not roles.is_owner(visit.caller):
        raise not_found()
    await visit.store.set_role(user, role)
    return see(f"/users/{user.id}")


async def set_password(visit: Visit) -> Response:
    """Give a user a password, which ends their sessions."""
    user = await _managed_user(visit)
    password = Secret(one(visit.form, "password"))
    if user.is_service_account:
        raise PageError(400, "A service account has no sign-in.")
    if (problem := check_password(password, user.username)) is not None:
        return await _user_page(visit, user, problem, 400)
    await visit.store.set_password(user, password)
    return see(f"/users/{user.id}")


async def ask_delete(visit: Visit) -> Response:
    """Ask whether to delete a user."""
    user = await _managed_user(visit)
    return visit.show(
        "confirm.html",
        title=f"Delete the user {user.username}?",
        text="All their tokens and sessions go with them, at once. This can't be undone.",
        button="Delete the user",
        back=f"/users/{user.id}",
    )


async def delete(visit: Visit) -> Response:
    """Delete a user with all their tokens; it counts for the next request."""
    user = await _managed_user(visit)
    await visit.store.delete_user(user)
    return see("/users")


def _check_manager(visit: Visit) -> None:
    if not roles.may_manage_users(visit.caller):
        raise not_found()


async def _managed_user(visit: Visit) -> User:
    """Return the user whom the path names and whom the caller may change.

    Nobody changes themselves here: whoever suspends or demotes themselves can't take it back.
    """
    _check_manager(visit)
    user = await visit.target()
    if user.id == visit.caller.id or not roles.may_manage(visit.caller, user):
        raise not_found()
    return user


def _check_may_give(visit: Visit, role: str) -> None:
    try:
        stored = roles.check_role(role)
    except StoreError:
        raise PageError(400, "There is no such role.") from None
    if not roles.may_give(visit.caller, stored):
        raise not_found()


def _form(visit: Visit, problems: dict[str, str] | None = None, status: int = 200) -> Response:
    return visit.show(
        "new_user.html",
        status,
        problems=problems or {},
        name=visit.given("name"),
        email=visit.given("email"),
        kind=visit.given("kind") or "person",
        role=visit.given("role") or roles.MEMBER,
        roles=_ROLES if roles.is_owner(visit.caller) else (),
    )


async def _user_page(visit: Visit, user: User, problem: str = "", status: int = 200) -> Response:
    may_change = user.id != visit.caller.id and roles.may_manage(visit.caller, user)
    may_use_tokens = roles.may_use_tokens_of(visit.caller, user)
    return visit.show(
        "user.html",
        status,
        user=user,
        may_change=may_change,
        may_give_roles=may_change and roles.is_owner(visit.caller),
        may_use_tokens=may_use_tokens,
        roles=_ROLES,
        role=user.roles[0] if user.roles else roles.MEMBER,
        part=await visit.tokens_of(user) if may_use_tokens else None,
        now=datetime.now(UTC),
        path=f"/users/{user.id}/tokens",
        kept=lifetimes.RETENTION.days,
        problem=problem,
    )
