"""List, store and delete provider keys of users. No answer has a key."""

import structlog
from starlette.responses import Response

from authz.errors import ConfigError
from authz.own_keys.store import KeyRefused
from authz.web.api.call import UserCall
from authz.web.api.errors import ApiError, empty, json_response, not_found, unavailable
from authz.web.api.models import SetOwnKey
from authz.web.own_keys import OwnKeys
from authz.web.sign_in import LIMITED_TOKEN

_log = structlog.get_logger(__name__)


async def list_own_keys(call: UserCall) -> Response:
    """List the provider keys that a user has stored. authz adds this call."""
    owner = await call.token_owner()
    return json_response(200, [key.as_json() for key in await _keys(call).list_keys(owner)])


async def set_own_key(call: UserCall) -> Response:
    """Store a provider key of a user, effective with the next request. authz adds this call."""
    owner = await call.token_owner()
    keys = _changeable(call)
    body = await call.read(SetOwnKey)
    try:
        stored = await keys.set_key(owner, call.request.path_params["provider"], body.key)
    except KeyRefused as error:
        raise ApiError(400, "The key can't be stored.", str(error)) from None
    except ConfigError as error:
        _log.error("token API: no key can be stored", why=error.problems)
        raise unavailable() from None
    return json_response(200, stored.as_json())


async def delete_own_key(call: UserCall) -> Response:
    """Delete a stored provider key, effective with the next request. authz adds this call."""
    owner = await call.token_owner()
    if not await _changeable(call).remove_key(owner, call.request.path_params["provider"]):
        raise not_found()
    return empty()


def _changeable(call: UserCall) -> OwnKeys:
    if call.is_limited:
        raise ApiError(403, LIMITED_TOKEN)
    return _keys(call)


def _keys(call: UserCall) -> OwnKeys:
    """Return the stored keys.

    Raises:
        ApiError: 404 if users can't store keys.
    """
    keyring = call.services.keyring()
    if keyring is None:
        raise ApiError(404, "Users can't store provider keys here.", "own_keys is not set")
    return OwnKeys(call.store, call.services.config(), keyring)
