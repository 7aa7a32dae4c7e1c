"""List and manage users, for owners and user administrators."""

from datetime import UTC, datetime

from starlette.responses import Response

from authz import lifetimes
from authz.errors import StoreError
from authz.identity import roles
from authz.identity.accounts import User
from authz.identity.names import check_email, check_user_name
from authz.identity.passwords import check_password
from authz.secret import Secret
from authz.web.pages.context import PageContext
from authz.web.pages.forms import one
from authz.web.pages.paging import COUNT, list_page, requested_offset
from authz.web.pages.responses import PageError, not_found

_ROLES = (roles.MEMBER, *roles.STORED)


async def show_users(context: PageContext) -> Response:
    """Show all users."""
    _check_manager(context)
    offset = requested_offset(context.request)
    found = await context.store.some_users(offset, COUNT + 1)
    return context.show("users.html", list_page=list_page(found, offset))


async def show_new(context: PageContext) -> Response:
    """Show the form for a new user."""
    _check_manager(context)
    return _form(context)


async def create(context: PageContext) -> Response:
    """Create a person or a service account."""
    _check_manager(context)
    name, email, role = context.given("name"), context.given("email"), context.given("role")
    role = role or roles.MEMBER
    problems: dict[str, str] = {}
    if (problem := check_user_name(name)) is not None:
        problems["name"] = problem
    elif await context.store.find_user(name) is not None:
        problems["name"] = "A user with this name exists. Choose another name."
    if email and (problem := check_email(email)) is not None:
        problems["email"] = problem
    elif await context.store.find_user_by_email(email) is not None:
        problems["email"] = "Another user has this address. Choose another one."
    _check_may_give(context, role)
    if problems:
        return _form(context, problems, 400)
    is_service = context.given("kind") == "service"
    user = await context.store.create_user(
        name, email or None, service_account=is_service, role=role
    )
    return context.see_done(f"/users/{user.id}", f"The user {user.username} was created.")


async def show_user(context: PageContext) -> Response:
    """Show a user, with the actions that the caller may take."""
    _check_manager(context)
    return await _user_page(context, await context.target())


async def set_status(context: PageContext) -> Response:
    """Suspend or activate a user, from the next request on."""
    user = await _managed_user(context)
    status = context.given("status")
    if status not in ("active", "suspended"):
        raise PageError(400, "Choose active or suspended.")
    await context.store.set_status(user, status)
    verb = "suspended" if status == "suspended" else "activated"
    return context.see_done(f"/users/{user.id}", f"The user {user.username} was {verb}.")


async def set_role(context: PageContext) -> Response:
    """Set the role of a user."""
    user = await _managed_user(context)
    role = context.given("role")
    _check_may_give(context, role)
    if not roles.is_owner(context.caller):
        raise not_found()
    await context.store.set_role(user, role)
    return context.see_done(f"/users/{user.id}", f"The role of {user.username} is now {role}.")


async def set_password(context: PageContext) -> Response:
    """Set the password of a user, which ends their sessions."""
    user = await _managed_user(context)
    password = Secret(one(context.form, "password"))
    if user.is_service_account:
        raise PageError(400, "A service account can't sign in, so it has no password.")
    if user.login_type == "oidc" or not context.pages.config().sign_in.passwords:
        raise PageError(400, "This user signs in with an identity provider, so has no password.")
    if (problem := check_password(password, user.username)) is not None:
        return await _user_page(context, user, problem, 400)
    await context.store.set_password(user, password)
    text = f"The password of {user.username} was set, and their sessions have ended."
    return context.see_done(f"/users/{user.id}", text)


async def ask_delete(context: PageContext) -> Response:
    """Ask for confirmation before a user is deleted."""
    user = await _managed_user(context)
    return context.show(
        "confirm.html",
        title=f"Delete the user {user.username}?",
        text="All tokens and sessions of the user are deleted too. This can't be undone.",
        button="Delete the user",
        back=f"/users/{user.id}",
    )


async def delete(context: PageContext) -> Response:
    """Delete a user with all their tokens. The next request with one is refused."""
    user = await _managed_user(context)
    await context.store.delete_user(user)
    return context.see_done("/users", f"The user {user.username} was deleted.")


def _check_manager(context: PageContext) -> None:
    if not roles.may_manage_users(context.caller):
        raise not_found()


async def _managed_user(context: PageContext) -> User:
    """Return the user in the path, if the caller may change them.

    Users can't change themselves: an owner who suspends or demotes themselves can't undo it.
    """
    _check_manager(context)
    user = await context.target()
    if user.id == context.caller.id or not roles.may_manage(context.caller, user):
        raise not_found()
    return user


def _check_may_give(context: PageContext, role: str) -> None:
    try:
        stored = roles.check_role(role)
    except StoreError:
        raise PageError(400, "This role does not exist. Choose one from the list.") from None
    if not roles.may_give(context.caller, stored):
        raise not_found()


def _form(
    context: PageContext, problems: dict[str, str] | None = None, status: int = 200
) -> Response:
    return context.show(
        "new_user.html",
        status,
        problems=problems or {},
        name=context.given("name"),
        email=context.given("email"),
        kind=context.given("kind") or "person",
        role=context.given("role") or roles.MEMBER,
        roles=_ROLES if roles.is_owner(context.caller) else (),
    )


async def _user_page(
    context: PageContext, user: User, problem: str = "", status: int = 200
) -> Response:
    may_change = user.id != context.caller.id and roles.may_manage(context.caller, user)
    may_use_tokens = context.access.may_use_tokens_of(user)
    return context.show(
        "user.html",
        status,
        user=user,
        groups=await context.store.groups_of(user),
        may_change=may_change,
        may_set_password=may_change
        and not user.is_service_account
        and user.login_type != "oidc"
        and context.pages.config().sign_in.passwords,
        may_give_roles=may_change and roles.is_owner(context.caller),
        may_use_tokens=may_use_tokens,
        roles=_ROLES,
        role=user.roles[0] if user.roles else roles.MEMBER,
        list_page=await context.tokens_of(user) if may_use_tokens else None,
        now=datetime.now(UTC),
        path=f"/users/{user.id}/tokens",
        kept=lifetimes.RETENTION.days,
        problem=problem,
    )
