"""List and manage groups, for owners and user administrators."""

from collections.abc import Collection

from starlette.responses import Response

from authz.core.rules import Mode, TokenRules, make_rules
from authz.identity import roles
from authz.identity.accounts import User
from authz.identity.groups import (
    GroupRecord,
    GroupRefused,
    GroupTaken,
    check_display_name,
    check_group_name,
)
from authz.identity.names import check_user_name
from authz.web.pages.context import PageContext
from authz.web.pages.paging import COUNT, list_page, requested_offset
from authz.web.pages.responses import PageError, not_found

MODES = (
    (Mode.CENTRALIZED, "the company's key"),
    (Mode.BYOK, "the user's own key or subscription"),
)
_TAKEN = "A group with this name exists. Choose another name."


async def show_groups(context: PageContext) -> Response:
    """Show all groups."""
    _check_may_see(context)
    return context.show(
        "groups.html", groups=await context.store.list_groups(), may_change=_may_change(context)
    )


async def show_new(context: PageContext) -> Response:
    """Show the form for a new group."""
    _check_may_change(context)
    return _form(context)


async def create(context: PageContext) -> Response:
    """Create a local group, without members and rules."""
    _check_may_change(context)
    name, title = context.given("name"), context.given("display_name")
    checked = {"name": check_group_name(name), "display_name": check_display_name(title)}
    problems = {field: text for field, text in checked.items() if text}
    if not problems:
        try:
            group = await context.store.create_group(name, title)
        except GroupTaken:
            problems["name"] = _TAKEN
        else:
            return context.see_done(f"/groups/{group.id}", f"The group {name} was created.")
    return _form(context, problems, 400)


async def show_group(context: PageContext) -> Response:
    """Show a group with its members, and the actions that the caller may take."""
    return await _group_page(context, await _group(context))


async def edit(context: PageContext) -> Response:
    """Change the names and rules of a group, from the members' next request on."""
    group = await _group(context)
    _check_may_change(context)
    problems: dict[str, str] = {}
    name, title = context.given("name"), context.given("display_name")
    if group.is_local and name != group.name and (problem := check_group_name(name)):
        problems["name"] = problem
    if problem := check_display_name(title):
        problems["display_name"] = problem
    rules = _rules(context, group, problems)
    if not problems:
        try:
            await context.store.change_group(
                group, name=name if group.is_local else None, display_name=title, rules=rules
            )
        except GroupTaken:
            problems["name"] = _TAKEN
        except GroupRefused as error:
            raise PageError(409, f"{error}.") from None
        else:
            text = f"The group {name if group.is_local else group.name} was changed."
            return context.see_done(f"/groups/{group.id}", text)
    return await _group_page(context, group, problems, 400)


async def add_member(context: PageContext) -> Response:
    """Add a user to a local group."""
    group = await _group(context)
    name = context.given("user")
    user = await context.store.find_user(name) if check_user_name(name) is None else None
    if user is None:
        return await _group_page(context, group, {"user": "There is no such user."}, 400)
    _check_may_move(context, user)
    await _move(context, group, add=[user])
    text = f"{user.username} was added to the group {group.name}."
    return context.see_done(f"/groups/{group.id}", text)


async def remove_member(context: PageContext) -> Response:
    """Remove a user from a local group."""
    group = await _group(context)
    user = await context.access.find_user(context.given("user"))
    if user is None:
        raise not_found()
    _check_may_move(context, user)
    await _move(context, group, remove=[user])
    text = f"{user.username} was removed from the group {group.name}."
    return context.see_done(f"/groups/{group.id}", text)


async def ask_delete(context: PageContext) -> Response:
    """Ask for confirmation before a group is deleted."""
    group = await _group(context)
    _check_may_change(context)
    again = "" if group.is_local else " The next sign-in of a member creates it without rules."
    return context.show(
        "confirm.html",
        title=f"Delete the group {group.name}?",
        text=f"Its members stay, and its rules do not limit them any more.{again}",
        button="Delete the group",
        back=f"/groups/{group.id}",
    )


async def delete(context: PageContext) -> Response:
    """Delete a group."""
    group = await _group(context)
    _check_may_change(context)
    await context.store.delete_group(group)
    return context.see_done("/groups", f"The group {group.name} was deleted.")


def _check_may_see(context: PageContext) -> None:
    if not roles.may_see_groups(context.caller):
        raise not_found()


def _may_change(context: PageContext) -> bool:
    return roles.may_change_groups(context.caller)


def _check_may_change(context: PageContext) -> None:
    if not _may_change(context):
        raise not_found()


def _check_may_move(context: PageContext, user: User) -> None:
    if not context.access.may_move(user):
        raise PageError(403, "Only an owner can change the membership of this user.")


async def _group(context: PageContext) -> GroupRecord:
    _check_may_see(context)
    group = await context.access.find_group(context.request.path_params["group"])
    if group is None:
        raise not_found()
    return group


async def _move(
    context: PageContext,
    group: GroupRecord,
    *,
    add: Collection[User] = (),
    remove: Collection[User] = (),
) -> None:
    try:
        await context.store.change_group(group, add=add, remove=remove)
    except GroupRefused as error:
        raise PageError(409, f"{error}.") from None


def _rules(context: PageContext, group: GroupRecord, problems: dict[str, str]) -> TokenRules:
    # Providers that the configuration no longer has stay in the rules until they are unticked.
    known = {*context.pages.config().provider_names, *(group.rules.providers or ())}
    try:
        return make_rules(context.form.get("provider"), context.form.get("mode"), known)
    except ValueError as error:
        problems["rules"] = str(error)
        return group.rules


def _form(
    context: PageContext, problems: dict[str, str] | None = None, status: int = 200
) -> Response:
    return context.show(
        "new_group.html",
        status,
        problems=problems or {},
        name=context.given("name"),
        display_name=context.given("display_name"),
    )


async def _group_page(
    context: PageContext,
    group: GroupRecord,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    offset = requested_offset(context.request)
    found = await context.store.members_of(group, offset, COUNT + 1)
    configured = context.pages.config().provider_names
    limited = group.rules.providers or ()
    return context.show(
        "group.html",
        status,
        group=group,
        problems=problems or {},
        may_change=_may_change(context),
        may_move={user.id for user in found if context.access.may_move(user)},
        list_page=list_page(found, offset),
        providers=[*configured, *(name for name in limited if name not in configured)],
        chosen=limited,
        modes=MODES,
        chosen_modes=group.rules.modes or (),
    )
