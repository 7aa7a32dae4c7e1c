"""List, store and delete the caller's own provider keys. No page shows a key."""

import structlog
from starlette.responses import Response

from authz.errors import ConfigError
from authz.own_keys.store import KeyRefused
from authz.web.own_keys import OwnKeys
from authz.web.pages.context import PageContext
from authz.web.pages.responses import not_found

_log = structlog.get_logger(__name__)

PATH = "/account/keys"
_UNUSABLE = "The gateway can't encrypt keys at the moment. Ask your administrator to read the log."


async def show_own_keys(context: PageContext) -> Response:
    """Show the providers, with the key that the caller has stored for each."""
    return await _page(context, _keys(context))


async def set_own_key(context: PageContext) -> Response:
    """Store a key, effective with the next request."""
    keys = _keys(context)
    try:
        key = await keys.set_key(context.caller, context.given("provider"), context.given("key"))
    except KeyRefused as error:
        return await _page(context, keys, f"The key can't be stored: {error}.", 400)
    except ConfigError as error:
        _log.error("page: no key can be stored", why=error.problems)
        return await _page(context, keys, _UNUSABLE, 503)
    return context.see_done(PATH, f"Your key for {key.provider} was stored.")


async def ask_delete(context: PageContext) -> Response:
    """Ask for confirmation before a key is deleted."""
    provider = context.request.path_params["provider"]
    stored = await _keys(context).list_keys(context.caller)
    if not any(key.provider == provider for key in stored):
        raise not_found()
    return context.show(
        "confirm.html",
        title=f"Delete your key for {provider}?",
        text="From the next request on, requests with your Coder token alone do not use it.",
        button="Delete the key",
        back=PATH,
    )


async def delete(context: PageContext) -> Response:
    """Delete a stored key."""
    provider = context.request.path_params["provider"]
    if not await _keys(context).remove_key(context.caller, provider):
        raise not_found()
    return context.see_done(PATH, f"Your key for {provider} was deleted.")


def _keys(context: PageContext) -> OwnKeys:
    keyring = context.pages.keyring()
    if keyring is None:
        raise not_found()
    return OwnKeys(context.store, context.pages.config(), keyring)


async def _page(
    context: PageContext, keys: OwnKeys, problem: str = "", status: int = 200
) -> Response:
    stored = {key.provider: key for key in await keys.list_keys(context.caller)}
    names = [one.name for one in keys.config.providers if not one.is_open]
    return context.show(
        "own_keys.html",
        status,
        problem=problem,
        allow_byok=keys.config.allow_byok,
        names=names if keys.config.allow_byok else [],
        stored=[*stored.values()],
        path=PATH,
    )
