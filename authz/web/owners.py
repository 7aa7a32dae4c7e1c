"""Find the owner of a budget or a rule, for the token API and the pages alike."""

from authz.identity.groups import GroupRefused as GroupRefused
from authz.identity.owners import OwnerKind
from authz.web.access import Access


async def find_owner_id(access: Access, kind: OwnerKind, name: str) -> str | None:
    """Return the id of a user, a group or a token that the caller may see, or None.

    Args:
        access: of the caller.
        kind: of the owner.
        name: the name or UUID of a user or a group, or the id of a token.

    Raises:
        GroupRefused: several groups have the name; the message says what to do.
        StoreError: the store can't be read.
    """
    match kind:
        case OwnerKind.USER:
            user = await access.find_user(name, by_name=True)
            return None if user is None else user.id
        case OwnerKind.GROUP:
            group = await access.find_group(name, by_name=True)
            return None if group is None else group.id
        case OwnerKind.TOKEN:
            return await access.find_token_id(name)
