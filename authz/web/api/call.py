"""A call of the token API: its body, its caller, and the user in its path."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from authz.config.settings import Config
from authz.identity.accounts import ApiKey, User
from authz.identity.audit import Actor
from authz.identity.store import Store
from authz.identity.store_sessions import Authenticated
from authz.own_keys.keyring import Keyring
from authz.web.access import Access
from authz.web.api import authentication
from authz.web.api.errors import ApiError, not_found
from authz.web.api.models import field_errors
from authz.web.own_store import OwnStore
from authz.web.sign_in import SignIn, is_limited
from authz.web.usage_rows import UsageRows

_Model = TypeVar("_Model", bound=BaseModel)

MAX_BODY_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Services:
    """The services that all calls share.

    Attributes:
        secure: clients connect over TLS, so cookies get the ``Secure`` attribute.
        providers: returns the names of the configured providers, or None to accept any name.
        config: returns the current configuration.
        keyring: returns the current master keys of stored keys; None if users can't store any.
        usage: the recorded requests, for the last uses of tokens; None leaves these out.
    """

    own_store: OwnStore
    sign_in: SignIn
    secure: bool
    providers: Callable[[], Collection[str] | None] = lambda: None
    config: Callable[[], Config] = Config
    keyring: Callable[[], Keyring | None] = lambda: None
    usage: UsageRows | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose caller is not known yet."""

    request: Request
    services: Services
    store: Store

    @property
    def peer(self) -> str:
        """The address of the client."""
        return authentication.peer(self.request)

    async def read(self, model: type[_Model]) -> _Model:
        """Read the body and check it against a model.

        Raises:
            ApiError: 413 if the body is too long; 400 if it is missing or does not fit the model.
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
    """A call whose caller is authenticated.

    Attributes:
        store: names the caller and their token in the audit log.
    """

    authenticated: Authenticated

    @property
    def caller(self) -> User:
        """The user who makes the call."""
        return self.authenticated.user

    @property
    def is_limited(self) -> bool:
        """Return whether the token of the call may do less than its owner."""
        return is_limited(self.authenticated.key)

    @property
    def access(self) -> Access:
        """The users and tokens that the caller may see."""
        return Access(self.store, self.caller, self.is_limited)

    async def with_last_uses(self, keys: Sequence[ApiKey]) -> list[ApiKey]:
        """Return the same keys with their last uses, as far as these are known."""
        usage = self.services.usage
        return list(keys) if usage is None else await usage.with_last_uses(keys)

    async def target(self) -> User:
        """Return the user in the path: ``me``, a UUID or a name.

        Raises:
            ApiError: 404 if there is no such user, or the caller may not see them.
        """
        user = await self.access.find_user(self.request.path_params["user"], by_name=True)
        if user is None:
            raise not_found()
        return user

    async def token_owner(self) -> User:
        """Return the user in the path, if the caller may use their tokens.

        Raises:
            ApiError: 404, as ``target``.
        """
        user = await self.access.find_token_owner(self.request.path_params["user"], by_name=True)
        if user is None:
            raise not_found()
        return user


async def user_call(call: Call) -> UserCall:
    """Authenticate the caller.

    Raises:
        ApiError: there is no valid token.
        StoreError: the store can't be read.
    """
    authenticated = await authentication.authenticate(call.request, call.store)
    user = authenticated.user
    actor = Actor("user", user.username, user.id, authenticated.key.id, call.peer)
    store = call.store.acting(actor, user.roles)
    return UserCall(call.request, call.services, store, authenticated)
