"""Show the one organization, of which every user is a member. Coder's clients ask for it."""

from starlette.responses import Response

from authz.identity.accounts import ORGANIZATION_ID
from authz.web.api.call import UserCall
from authz.web.api.errors import json_response, not_found

_NAME = "default"
_ORGANIZATION = {
    "id": ORGANIZATION_ID,
    "name": _NAME,
    "display_name": "Default",
    "description": "",
    "icon": "",
    "is_default": True,
    "created_at": "1970-01-01T00:00:00Z",
    "updated_at": "1970-01-01T00:00:00Z",
}


def check_organization(call: UserCall) -> bool:
    """Return whether the path is below the organization; 404 for one that does not exist."""
    organization = call.request.path_params.get("organization")
    if organization not in (None, ORGANIZATION_ID, _NAME):
        raise not_found()
    return organization is not None


async def list_organizations(_call: UserCall) -> Response:
    """Return a list of the one organization."""
    return json_response(200, [_ORGANIZATION])


async def show_organization(call: UserCall) -> Response:
    """Return the one organization by its id or name."""
    check_organization(call)
    return json_response(200, _ORGANIZATION)


async def list_organizations_of(call: UserCall) -> Response:
    """Return a list of the one organization, for any user."""
    await call.target()
    return json_response(200, [_ORGANIZATION])


async def show_organization_of(call: UserCall) -> Response:
    """Return an organization of a user by its id or name."""
    await call.target()
    return await show_organization(call)
