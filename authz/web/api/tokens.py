"""Create, list, read and end tokens."""

from collections.abc import Collection
from datetime import timedelta

from starlette.responses import Response

from authz import lifetimes
from authz.core.rules import NO_RULES, TokenRules, make_rules
from authz.identity.accounts import ApiKey, User
from authz.identity.names import check_token_name
from authz.identity.roles import longest_lifetime
from authz.identity.store_keys import NameTaken, NotRotated, OwnerChanged, TooManyTokens
from authz.web.api.call import UserCall
from authz.web.api.errors import ApiError, empty, json_response, not_found
from authz.web.api.models import AllowListElement, AskedRules, CreateToken, RotateToken
from authz.web.sign_in import LIMITED_TOKEN

_EVERYTHING = {"all", "coder:all"}
_INVALID = "Failed to validate create API key request."


async def create_token(call: UserCall) -> Response:
    """Create a token. Only this response has its text."""
    owner = await call.token_owner()
    _check_may_create(call)
    body = await call.read(CreateToken)
    _check_scope(body)
    name = body.token_name or None
    if name is not None and (problem := check_token_name(name)):
        raise ApiError(400, _INVALID, validations={"token_name": problem})
    try:
        text, _ = await call.store.create_token(
            owner, name, _lifetime(body, owner), rules_of(body.rules, call.services.providers())
        )
    except NameTaken:
        raise ApiError(
            409,
            f'A token with name "{name}" already exists.',
            validations={"name": "This value is already in use and should be unique."},
        ) from None
    except (OwnerChanged, TooManyTokens) as error:
        raise ApiError(400, "Failed to create API key.", str(error)) from None
    return json_response(201, {"key": text})


async def rotate_token(call: UserCall) -> Response:
    """Replace a token by a new one, and let the old one end. Only this response has its text."""
    key, owner = await _key(call), await call.token_owner()
    _check_may_create(call)
    body = await call.read(RotateToken)
    overlap = lifetimes.OVERLAP
    if body.overlap is not None:
        overlap = timedelta(microseconds=body.overlap // 1000)
    try:
        text, _ = await call.store.rotate_token(owner, key, overlap)
    except (NameTaken, NotRotated, OwnerChanged, TooManyTokens) as error:
        raise ApiError(400, "Failed to rotate API key.", str(error)) from None
    return json_response(201, {"key": text})


async def create_session(call: UserCall) -> Response:
    """Create a session for the caller, as ``coder login`` does."""
    owner = await call.target()
    _check_may_create(call)
    if owner.id != call.caller.id:
        raise ApiError(403, "You can only create a session for yourself.")
    text, _ = await call.store.create_session(owner)
    return json_response(201, {"key": text})


async def list_tokens(call: UserCall) -> Response:
    """List the user's tokens, or with ``include_all`` all that the caller may use."""
    owner = await call.token_owner()
    include_expired = _flag(call, "include_expired")
    if _flag(call, "include_all"):
        found = await call.access.list_usable_tokens(include_expired=include_expired)
    else:
        found = await call.store.list_tokens(owner, include_expired=include_expired)
    used = await call.with_last_uses(found)
    # Coder, written in Go, encodes an empty list as null.
    return json_response(200, [{**key.as_json(), "username": key.username} for key in used] or None)


async def token_config(call: UserCall) -> Response:
    """Return the longest lifetime of the user's tokens."""
    owner = await call.token_owner()
    return json_response(200, {"max_token_lifetime": _nanoseconds(longest_lifetime(owner))})


async def show_token(call: UserCall) -> Response:
    """Return the token with the name in the path."""
    owner = await call.token_owner()
    name = call.request.path_params["name"]
    key = None if check_token_name(name) else await call.store.find_named(owner, name)
    if key is None:
        raise not_found()
    return await _shown(call, key)


async def show_key(call: UserCall) -> Response:
    """Return the token or session with the id in the path."""
    return await _shown(call, await _key(call))


async def delete_key(call: UserCall) -> Response:
    """Delete a token or session."""
    if not await call.store.delete_token(await _endable_key(call)):
        raise not_found()
    return empty()


async def expire_key(call: UserCall) -> Response:
    """Expire a token or session, and keep its record."""
    if not await call.store.expire_token(await _endable_key(call)):
        raise not_found()
    return empty()


async def _shown(call: UserCall, key: ApiKey) -> Response:
    (used,) = await call.with_last_uses([key])
    return json_response(200, used.as_json())


async def _key(call: UserCall) -> ApiKey:
    owner = await call.token_owner()
    key_id = call.request.path_params["key"]
    key = await call.access.find_key(owner, key_id)
    if key is None:
        raise not_found()
    return key


async def _endable_key(call: UserCall) -> ApiKey:
    """Return the token or session in the path. A limited token may only end itself."""
    key = await _key(call)
    if call.is_limited and key.id != call.authenticated.key.id:
        raise ApiError(403, LIMITED_TOKEN)
    return key


def _check_may_create(call: UserCall) -> None:
    # Otherwise a limited token could create an unlimited one.
    if call.is_limited:
        raise ApiError(403, LIMITED_TOKEN)


def _check_scope(body: CreateToken) -> None:
    scopes = {*(body.scopes or ()), *([body.scope] if body.scope else [])}
    if scopes - _EVERYTHING:
        raise ApiError(
            400,
            "Failed to create API key.",
            "the only scope is coder:all; use rules to limit a token",
        )
    for element in body.allow_list or ():
        text = f"{element.type}:{element.id}" if isinstance(element, AllowListElement) else element
        if text != "*:*":
            raise ApiError(
                400,
                "Failed to create API key.",
                "the only allow list is *:*; use rules to limit a token",
            )


def rules_of(body: AskedRules | None, known: Collection[str] | None) -> TokenRules:
    """Return the rules of a body.

    Raises:
        ApiError: 400 for an unknown provider or mode.
    """
    if body is None:
        return NO_RULES
    try:
        return make_rules(body.providers, body.modes, known)
    except ValueError as error:
        raise ApiError(400, _INVALID, validations={"rules": str(error)}) from None


def _lifetime(body: CreateToken, owner: User) -> timedelta:
    if not body.lifetime:
        return min(lifetimes.DEFAULT, longest_lifetime(owner))
    maximum = longest_lifetime(owner)
    if body.lifetime < 0:
        raise ApiError(400, _INVALID, "lifetime must be positive number greater than 0")
    if body.lifetime > _nanoseconds(maximum):
        hours = maximum // timedelta(hours=1)
        raise ApiError(400, _INVALID, f"lifetime must be less than {hours}h0m0s")
    return timedelta(microseconds=max(1, body.lifetime // 1000))


def _nanoseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1) * 1000


def _flag(call: UserCall, name: str) -> bool:
    """Read a query parameter as Go reads a boolean. Any other text is false, as in Coder."""
    return call.request.query_params.get(name, "") in ("1", "t", "T", "true", "True", "TRUE")
