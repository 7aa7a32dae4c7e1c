"""Provide the context of a page: its request, its user, and look-ups that pages share."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from authz.config.settings import Config
from authz.core.tokens import parse
from authz.identity.accounts import ApiKey, User
from authz.identity.audit import Actor
from authz.identity.roles import is_owner, may_manage_users
from authz.identity.store import Store
from authz.identity.store_sessions import Authenticated, AuthenticationFailed
from authz.keys.pool import KeyPool
from authz.metrics import Metrics
from authz.own_keys.keyring import Keyring
from authz.web.access import Access
from authz.web.api import authentication
from authz.web.own_store import OwnStore
from authz.web.pages.done import DONE_COOKIE, MAX_AGE_SECONDS, seal, unseal
from authz.web.pages.forms import Form, csrf_token, one
from authz.web.pages.paging import COUNT, ListPage, list_page, requested_offset
from authz.web.pages.responses import BASE, PageError, not_found, page, see
from authz.web.sign_in import SignedIn, SignIn
from authz.web.usage_rows import UsageRows

SESSION_COOKIE = "authz_session"
"""A cookie apart from the token API's: a browser sends it only to the pages."""
VISITOR_COOKIE = "authz_visitor"
"""A cookie that binds the sign-in form to a browser, so that no other site can submit the form. It
authenticates no user and is replaced at sign-in."""
ID_TOKEN_COOKIE = "authz_id_token"  # noqa: S105 - a name
"""A cookie with the ID token of a sign-in, which a browser sends only to ``/sign-out``."""
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9.-]+)(:[0-9]{1,5})?")
_VISITOR = re.compile(r"[0-9A-Za-z_-]{43}")


@dataclass(frozen=True, slots=True)
class GatewayState:
    """The state of the running service.

    Attributes:
        pools: returns the central keys now, by provider.
        metrics: of all workers.
    """

    pools: Callable[[], Mapping[str, KeyPool]]
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Pages:
    """The services that all pages share.

    Attributes:
        sign_in: the same as the token API's, so that its limits count for both.
        secure: clients connect over TLS, so cookies get the ``Secure`` attribute.
        config: returns the current configuration.
        usage: the recorded requests.
        keyring: returns the current master keys of stored keys; None if users can't store any.
        providers: titles of the OpenID providers by name, for the buttons of the sign-in page.
        gateway: the state of the service, for the overview; None leaves the keys out of it.
        end_session: returns the URL that signs a person out at their OpenID provider, if any.
    """

    own_store: OwnStore
    sign_in: SignIn
    secure: bool
    config: Callable[[], Config]
    usage: UsageRows
    keyring: Callable[[], Keyring | None] = lambda: None
    providers: Mapping[str, str] = field(default_factory=dict)
    gateway: GatewayState | None = None
    end_session: "Callable[[PageContext], Awaitable[str | None]] | None" = None


@dataclass(frozen=True, slots=True)
class PageContext:
    """The context of one request for a page.

    Attributes:
        store: names the user and their session in the audit log.
        authenticated: the user and session; None without a valid session.
        secret: the secret that forms are bound to; see ``forms.csrf_token``.
        form: the fields of a POST.
    """

    request: Request
    pages: Pages
    store: Store
    authenticated: Authenticated | None
    secret: str
    form: Form = field(default_factory=dict)

    @property
    def caller(self) -> User:
        """The user who is signed in. Only pages that require a session use it."""
        assert self.authenticated is not None  # noqa: S101
        return self.authenticated.user

    @property
    def changes_password(self) -> bool:
        """True if the caller signs in with a password, which they can change."""
        return self.caller.has_password and self.pages.config().sign_in.passwords

    @property
    def access(self) -> Access:
        """The users and tokens that the caller may see."""
        return Access(self.store, self.caller)

    @property
    def peer(self) -> str:
        """The address of the client."""
        return authentication.peer(self.request)

    @property
    def origin(self) -> str:
        """The origin of the gateway as browsers see it: ``sign_in.url``, or the request's.

        Raises:
            PageError: 400 if the request names no usable host.
        """
        if (url := self.pages.config().sign_in.url) is not None:
            return str(url).rstrip("/")
        host = self.request.headers.get("host", "")
        if _HOST.fullmatch(host) is None:
            raise PageError(400, "The address of this page can't be used for signing in.")
        return f"{'https' if self.pages.secure else 'http'}://{host}"

    def given(self, name: str) -> str:
        """Return a field of the form without surrounding spaces, or an empty text."""
        return one(self.form, name).strip()

    def with_form(self, form: Form) -> "PageContext":
        """Return the same context with the fields of a form."""
        return replace(self, form=form)

    def with_secret(self, secret: str) -> "PageContext":
        """Return the same context with another secret for its forms."""
        return replace(self, secret=secret)

    def show(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page. Its template also gets the caller, the CSRF token and what was done."""
        caller = self.authenticated.user if self.authenticated else None
        sealed = self.request.cookies.get(DONE_COOKIE, "")
        response = page(
            template,
            status,
            caller=caller,
            may_manage_users=caller is not None and may_manage_users(caller),
            changes_password=caller is not None and self.changes_password,
            has_own_keys=self.pages.keyring() is not None,
            has_budgets=self.pages.config().budgets is not None,
            has_rules=self.pages.config().uses_assigned_rules,
            may_see_all=caller is not None and is_owner(caller),
            csrf=csrf_token(self.secret) if self.secret else "",
            here=self.request.url.path,
            done=unseal(sealed, self.secret),
            **values,
        )
        if sealed:
            response.delete_cookie(DONE_COOKIE, path=BASE, httponly=True, samesite="lax")
        return response

    def see_done(self, path: str, text: str) -> Response:
        """Redirect the browser to another page, which says once what was done.

        Args:
            path: below ``BASE``; never contains text from a request.
            text: a sentence, which may contain names.
        """
        response = see(path)
        response.set_cookie(
            DONE_COOKIE,
            seal(text, self.secret),
            max_age=MAX_AGE_SECONDS,
            path=BASE,
            httponly=True,
            samesite="lax",
            secure=self.pages.secure,
        )
        return response

    async def tokens_of(self, owner: User) -> ListPage[ApiKey]:
        """Return a page of a user's tokens, newest first, with expired ones and last uses."""
        offset = requested_offset(self.request)
        keys = await self.store.newest_tokens(owner, offset, COUNT + 1)
        return list_page(await self.pages.usage.with_last_uses(keys), offset)

    async def token_owner(self) -> User:
        """Return the user in the path, or the caller if it has none, whose tokens the page shows.

        Raises:
            PageError: 404 if there is no such user, or the caller may not use their tokens.
        """
        if "user" not in self.request.path_params:
            return self.caller
        user = await self.access.find_token_owner(self.request.path_params["user"])
        if user is None:
            raise not_found()
        return user

    async def target(self) -> User:
        """Return the user whose id is in the path.

        Raises:
            PageError: 404 if there is no such user, or the caller may not see them.
        """
        user = await self.access.find_user(self.request.path_params["user"])
        if user is None:
            raise not_found()
        return user

    async def key(self) -> tuple[User, ApiKey]:
        """Return the token in the path, and its owner.

        Raises:
            PageError: 404 if there is no such token, or the caller may not use it.
        """
        owner = await self.token_owner()
        key = await self.access.find_key(owner, self.request.path_params["key"])
        if key is None or key.login_type != "token":
            raise not_found()
        return owner, key


async def page_context(request: Request, pages: Pages, store: Store) -> PageContext:
    """Return the context of a request, with the user whose session its cookie names.

    Only a session that was made by signing in counts. The cookie authenticates no user if it holds
    a long-lived token, or a service account's session, which ``coder login`` makes.

    Raises:
        StoreError: the store can't be read.
    """
    text = request.cookies.get(SESSION_COOKIE, "")
    token = parse(text)
    result = await store.authenticate(token) if token else None
    if result is None or isinstance(result, AuthenticationFailed) or not _may_browse(result):
        visitor = request.cookies.get(VISITOR_COOKIE, "")
        secret = visitor if _VISITOR.fullmatch(visitor) else ""
        peer = authentication.peer(request)
        return PageContext(request, pages, store.acting(Actor("nobody", ip=peer)), None, secret)
    user = result.user
    actor = Actor("user", user.username, user.id, result.key.id, authentication.peer(request))
    return PageContext(request, pages, store.acting(actor, user.roles), result, text)


def _may_browse(result: Authenticated) -> bool:
    return result.key.login_type != "token" and not result.user.is_service_account


def set_session(response: Response, signed_in: SignedIn, *, secure: bool) -> None:
    """Set the session cookie, until the browser closes, and remove the visitor cookie."""
    response.set_cookie(
        SESSION_COOKIE,
        signed_in.text.reveal(),
        path=BASE,
        httponly=True,
        samesite="lax",
        secure=secure,
    )
    response.delete_cookie(VISITOR_COOKIE, path=BASE, httponly=True, samesite="lax", secure=secure)


def drop_session(response: Response, *, secure: bool) -> None:
    """Remove the session cookie and the ID token."""
    response.delete_cookie(
        ID_TOKEN_COOKIE,
        path=f"{BASE}/sign-out",
        httponly=True,
        samesite="strict",
        secure=secure,
    )
    response.delete_cookie(SESSION_COOKIE, path=BASE, httponly=True, samesite="lax", secure=secure)
