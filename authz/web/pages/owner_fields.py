"""Read the fields with which a form names an owner of budgets or rules."""

from enum import StrEnum
from typing import TypeVar

from authz.identity.owners import OwnerKind
from authz.identity.roles import is_owner
from authz.web.owners import GroupRefused, find_owner_id
from authz.web.pages.context import PageContext
from authz.web.pages.responses import PageError, not_found

_T = TypeVar("_T", bound=StrEnum)

OWNER_KINDS = {
    OwnerKind.USER: "a user",
    OwnerKind.GROUP: "a group",
    OwnerKind.TOKEN: "a token",
}
"""The choices of a form, with their texts."""


def check_may_change(context: PageContext) -> None:
    """Check that the caller has the role Owner.

    Raises:
        PageError: 404.
    """
    if not is_owner(context.caller):
        raise not_found()


def choice(context: PageContext, field: str, kind: type[_T]) -> _T:
    """Return the choice of a list in the form.

    Raises:
        PageError: 400 if the list has no such choice.
    """
    try:
        return kind(context.given(field))
    except ValueError:
        raise PageError(400, "This choice does not exist. Choose one from the list.") from None


async def find_owner(context: PageContext, problems: dict[str, str]) -> tuple[OwnerKind, str]:
    """Return the kind and the id of the owner in the form.

    Args:
        context: of the request with the form.
        problems: gets a sentence for the field ``name`` if there is no such owner. Then the id is
            empty.

    Raises:
        PageError: 400 if there is no such kind.
        StoreError: the store can't be read.
    """
    kind = choice(context, "owner", OwnerKind)
    try:
        owner_id = await find_owner_id(context.access, kind, context.given("name"))
    except GroupRefused as error:
        problems["name"] = f"{error}."
        return kind, ""
    if owner_id is None:
        problems["name"] = f"There is no such {kind}."
    return kind, owner_id or ""
