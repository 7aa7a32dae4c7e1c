"""One call of the token API: its body, who makes it, and whom it is about."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from authz.identity.accounts import User
from authz.identity.audit import Actor
from authz.identity.names import check_user_name
from authz.identity.roles import may_see, may_use_tokens_of
from authz.identity.store import Store
from authz.identity.store_sessions import Authenticated
from authz.web.api import authentication
from authz.web.api.errors import ApiError, not_found
from authz.web.api.models import field_errors
from authz.web.own_store import OwnStore
from authz.web.sign_in import SignIn, is_limited

_Model = TypeVar("_Model", bound=BaseModel)

MAX_BODY_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Services:
    """What all calls share.

    Attributes:
        secure: whether clients come over TLS, so that cookies may demand it.
        providers: returns the names of the configured providers; None where any name is taken.
    """

    own_store: OwnStore
    sign_in: SignIn
    secure: bool
    providers: Callable[[], Collection[str] | None] = lambda: None


@dataclass(frozen=True, slots=True)
class Call:
    """A call that nobody has proven anything about."""

    request: Request
    services: Services
    store: Store

    @property
    def peer(self) -> str:
        """Where it comes from."""
        return authentication.peer(self.request)

    async def read(self, model: type[_Model]) -> _Model:
        """Read the body.

        Raises:
            ApiError: 413 if it is too long, 400 if it is not what is asked for, or missing.
        """
        body = bytearray()
        try:
            async for chunk in self.request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise ApiError(413, "Request body too large.")
        except ClientDisconnect:
            raise ApiError(400, "Request body must be valid JSON.") from None
        try:
            return model.model_validate_json(bytes(body))
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False, include_context=False)
            if any(one["type"] == "json_invalid" for one in errors):
                raise ApiError(400, "Request body must be valid JSON.") from None
            raise ApiError(
                400, "Validation failed.", validations=field_errors(list(errors))
            ) from None


@dataclass(frozen=True, slots=True)
class UserCall(Call):
    """A call of a user.

    Attributes:
        store: its audit log names the user and their token.
    """

    proven: Authenticated

    @property
    def caller(self) -> User:
        """Who makes the call."""
        return self.proven.user

    @property
    def is_limited(self) -> bool:
        """Whether the token that proved the caller may do less than the caller."""
        return is_limited(self.proven.key)

    async def target(self) -> User:
        """Return the user whom the path names: ``me``, a UUID or a name.

        Raises:
            ApiError: 404 if there is none, or the caller may not know of them.
        """
        name = self.request.path_params["user"]
        if name == "me":
            return self.caller
        user = await self.store.find_user_by_id(name)
        if user is None and check_user_name(name) is None:
            user = await self.store.find_user(name)
        if user is None or not may_see(self.caller, user):
            raise not_found()
        if self.is_limited and user.id != self.caller.id:
            raise not_found()
        return user

    async def token_owner(self) -> User:
        """Return the user whom the path names, whose tokens the caller may use; as ``target``."""
        user = await self.target()
        if not may_use_tokens_of(self.caller, user):
            raise not_found()
        return user


async def user_call(call: Call) -> UserCall:
    """Prove who makes a call.

    Raises:
        ApiError: nobody who may.
        StoreError: the store can't be asked.
    """
    proven = await authentication.authenticate(call.request, call.store)
    user = proven.user
    actor = Actor("user", user.username, user.id, proven.key.id, call.peer)
    return UserCall(call.request, call.services, call.store.acting(actor, user.roles), proven)
