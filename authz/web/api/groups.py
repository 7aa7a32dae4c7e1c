"""List, create, change and delete groups, in the format of Coder's API for its groups."""

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from authz.identity import roles
from authz.identity.accounts import User
from authz.identity.groups import (
    GroupRecord,
    GroupRefused,
    GroupTaken,
    check_display_name,
    check_group_name,
    clean_name,
)
from authz.web.api.call import UserCall
from authz.web.api.errors import ApiError, json_response, not_found
from authz.web.api.group_models import CreateGroup, UpdateGroup
from authz.web.api.organizations import check_organization
from authz.web.api.tokens import rules_of
from authz.web.api.user_admin import PAGE_MAX, number
from authz.web.sign_in import LIMITED_TOKEN

_ONLY_OWNERS = "Only an owner can do this."
_NOT_THESE = "Only an owner can change the membership of these users."


async def list_groups(call: UserCall) -> Response:
    """List the groups that the caller may see, by name, without members."""
    check_organization(call)
    member = None
    if reference := call.request.query_params.get("has_member", ""):
        member = await call.access.find_user(reference, by_name=True)
        if member is None:
            raise not_found()
    found = await call.access.list_groups(member)
    return json_response(200, [_shown(group, ()) for group in found])


async def create_group(call: UserCall) -> Response:
    """Create a group without members."""
    check_organization(call)
    _check_owner(call)
    body = await call.read(CreateGroup)
    if body.issuer:
        name_problem = None if body.name == clean_name(body.name) != "" else "must be printable"
    else:
        name_problem = check_group_name(body.name)
    problems = {"name": name_problem, "display_name": check_display_name(body.display_name)}
    if wrong := {field: text for field, text in problems.items() if text}:
        raise ApiError(400, "Validation failed.", validations=wrong)
    rules = rules_of(body.rules, call.services.providers())
    try:
        group = await call.store.create_group(
            body.name, body.display_name, source=body.issuer, rules=rules
        )
    except GroupTaken:
        raise _taken() from None
    return json_response(201, _shown(group, ()))


async def show_group(call: UserCall) -> Response:
    """Return a group with its first members."""
    return json_response(200, await _described(call, await _group(call)))


async def list_members(call: UserCall) -> Response:
    """List the members of a group, by name."""
    group = await _group(call)
    if not call.access.sees_all_groups:
        raise not_found()
    limit = min(number(call, "limit") or PAGE_MAX, PAGE_MAX)
    found = await call.store.members_of(group, number(call, "offset"), limit)
    return json_response(
        200, {"users": [_reduced(user) for user in found], "count": group.member_count}
    )


async def change_group(call: UserCall) -> Response:
    """Change the name, rules and members of a group, effective with the members' next request."""
    group = await _group(call)
    _check_manager(call)
    body = await call.read(UpdateGroup)
    has_rules = "rules" in body.model_fields_set
    if body.name or body.display_name is not None or has_rules:
        _check_owner(call)
    add, remove = await _users(call, "add_users", body), await _users(call, "remove_users", body)
    if not all(map(call.access.may_move, (*add, *remove))):
        raise ApiError(403, _NOT_THESE)
    try:
        changed = await call.store.change_group(
            group,
            name=body.name or None,
            display_name=body.display_name,
            rules=rules_of(body.rules, call.services.providers()) if has_rules else None,
            add=add,
            remove=remove,
        )
    except GroupTaken:
        raise _taken() from None
    except GroupRefused as error:
        raise ApiError(400, "Failed to change the group.", str(error)) from None
    return json_response(200, await _described(call, changed))


async def delete_group(call: UserCall) -> Response:
    """Delete a group. Its rules do not limit its members any more."""
    group = await _group(call)
    _check_owner(call)
    await call.store.delete_group(group)
    return json_response(200, {"message": "Successfully deleted group!"})


async def _group(call: UserCall) -> GroupRecord:
    """Return the group in the path: a UUID, or below an organization also a name.

    Raises:
        ApiError: 404 if there is no such group, or the caller may not see it; 400 for a name that
            groups of several identity providers have.
    """
    by_name = check_organization(call)
    try:
        group = await call.access.find_group(call.request.path_params["group"], by_name=by_name)
    except GroupRefused as error:
        raise ApiError(400, "The name is not unique.", str(error)) from None
    if group is None:
        raise not_found()
    return group


async def _users(call: UserCall, field: str, body: UpdateGroup) -> list[User]:
    found = []
    for reference in dict.fromkeys(getattr(body, field) or ()):
        user = await call.access.find_user(reference, by_name=True)
        if user is None:
            raise ApiError(400, "Validation failed.", validations={field: "there is no such user"})
        found.append(user)
    return found


def _check_manager(call: UserCall) -> None:
    if call.is_limited:
        raise ApiError(403, LIMITED_TOKEN)
    if not roles.may_manage_users(call.caller):
        raise ApiError(403, "Only an owner or a user administrator can do this.")


def _check_owner(call: UserCall) -> None:
    if call.is_limited:
        raise ApiError(403, LIMITED_TOKEN)
    if not roles.may_change_groups(call.caller):
        raise ApiError(403, _ONLY_OWNERS)


def _taken() -> ApiError:
    return ApiError(
        409,
        "A group with this name already exists.",
        validations={"name": "This value is already in use and should be unique."},
    )


async def _described(call: UserCall, group: GroupRecord) -> dict[str, Any]:
    members = []
    if call.access.sees_all_groups:
        members = await call.store.members_of(group, 0, PAGE_MAX)
    return _shown(group, members)


def _shown(group: GroupRecord, members: Iterable[User]) -> dict[str, Any]:
    return {**group.as_json(), "members": [_reduced(user) for user in members]}


def _reduced(user: User) -> dict[str, Any]:
    more = ("roles", "organization_ids", "is_service_account")
    return {name: value for name, value in user.as_json().items() if name not in more}
