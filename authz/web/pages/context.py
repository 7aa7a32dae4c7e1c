"""One visit of a browser: who makes it, and what it brings."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from authz.config.settings import Config
from authz.core.tokens import ID_LENGTH, parse
from authz.identity.accounts import ApiKey, User
from authz.identity.audit import Actor
from authz.identity.roles import may_manage_users, may_see, may_use_tokens_of
from authz.identity.store import Store
from authz.identity.store_sessions import Authenticated, AuthenticationFailed
from authz.web.api import authentication
from authz.web.own_store import OwnStore
from authz.web.pages.forms import Form, csrf_token, one
from authz.web.pages.paging import COUNT, Part, first_of, part
from authz.web.pages.responses import BASE, not_found, page
from authz.web.pages.usage_rows import UsageRows
from authz.web.sign_in import SignedIn, SignIn

SESSION_COOKIE = "authz_session"
"""Not the token API's: a browser sends it to the pages alone."""
VISITOR_COOKIE = "authz_visitor"
"""Of whoever is not signed in, so that no other site can fill in the sign-in form. It proves nobody
and is not kept at sign-in."""
_VISITOR = re.compile(r"[0-9A-Za-z_-]{43}")


@dataclass(frozen=True, slots=True)
class Pages:
    """What all visits share.

    Attributes:
        sign_in: the token API's, so that its limits count for both.
        secure: whether clients come over TLS, so that cookies may demand it.
        config: returns the configuration that is in force.
        usage: the rows of requests.
    """

    own_store: OwnStore
    sign_in: SignIn
    secure: bool
    config: Callable[[], Config]
    usage: UsageRows


@dataclass(frozen=True, slots=True)
class Visit:
    """A visit.

    Attributes:
        store: its audit log names the user and their session.
        proven: None of whoever is not signed in.
        secret: what forms are bound to; see ``forms.csrf_token``.
        form: of a POST.
    """

    request: Request
    pages: Pages
    store: Store
    proven: Authenticated | None
    secret: str
    form: Form = field(default_factory=dict)

    @property
    def caller(self) -> User:
        """Who makes it; routes that need somebody are not reached without."""
        assert self.proven is not None  # noqa: S101
        return self.proven.user

    @property
    def peer(self) -> str:
        """Where it comes from."""
        return authentication.peer(self.request)

    def given(self, name: str) -> str:
        """Return a field of the form, without the spaces around it; empty without one."""
        return one(self.form, name).strip()

    def with_form(self, form: Form) -> "Visit":
        """Return the same visit with what its form brings."""
        return replace(self, form=form)

    def with_secret(self, secret: str) -> "Visit":
        """Return the same visit, whose forms are bound to something else."""
        return replace(self, secret=secret)

    def show(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page; the template also knows who looks at it."""
        caller = self.proven.user if self.proven else None
        return page(
            template,
            status,
            caller=caller,
            may_manage_users=caller is not None and may_manage_users(caller),
            csrf=csrf_token(self.secret) if self.secret else "",
            here=self.request.url.path,
            **values,
        )

    async def tokens_of(self, owner: User) -> Part[ApiKey]:
        """Return a user's tokens, expired ones too, the newest first; with their last use."""
        first = first_of(self.request)
        keys = await self.store.newest_tokens(owner, first, COUNT + 1)
        uses = await self.pages.usage.last_uses(owner.id) if keys else {}
        used = [
            replace(
                key, last_used=max(filter(None, (key.last_used, uses.get(key.id))), default=None)
            )
            for key in keys
        ]
        return part(used, first)

    async def token_owner(self) -> User:
        """Return the user whose tokens the path is about: oneself, or whom it names.

        Raises:
            PageError: 404 if there is none, or they are none of the caller's business.
        """
        if "user" not in self.request.path_params:
            return self.caller
        user = await self.target()
        if not may_use_tokens_of(self.caller, user):
            raise not_found()
        return user

    async def target(self) -> User:
        """Return the user whose id the path has; errors as ``token_owner``."""
        user = await self.store.find_user_by_id(self.request.path_params["user"])
        if user is None or not may_see(self.caller, user):
            raise not_found()
        return user

    async def key(self) -> tuple[User, ApiKey]:
        """Return the token that the path names, and its owner; errors as ``token_owner``."""
        owner = await self.token_owner()
        key_id = self.request.path_params["key"]
        may_be = len(key_id) == ID_LENGTH and key_id.isascii() and key_id.isalnum()
        key = await self.store.find_key(owner, key_id) if may_be else None
        if key is None or key.login_type != "token":
            raise not_found()
        return owner, key


async def visit_of(request: Request, pages: Pages, store: Store) -> Visit:
    """Say who makes a visit.

    A long-lived token in the place of the session is nobody's, and so is a service account's
    session, which ``coder login`` makes: a browser is signed in by signing in alone.

    Raises:
        StoreError: the store can't be asked.
    """
    text = request.cookies.get(SESSION_COOKIE, "")
    token = parse(text)
    proven = await store.authenticate(token) if token else None
    if proven is None or isinstance(proven, AuthenticationFailed) or not _may_browse(proven):
        visitor = request.cookies.get(VISITOR_COOKIE, "")
        secret = visitor if _VISITOR.fullmatch(visitor) else ""
        peer = authentication.peer(request)
        return Visit(request, pages, store.acting(Actor("nobody", ip=peer)), None, secret)
    user = proven.user
    actor = Actor("user", user.username, user.id, proven.key.id, authentication.peer(request))
    return Visit(request, pages, store.acting(actor, user.roles), proven, text)


def _may_browse(proven: Authenticated) -> bool:
    return proven.key.login_type != "token" and not proven.user.is_service_account


def set_session(response: Response, signed_in: SignedIn, *, secure: bool) -> None:
    """Give the browser a session, until it is closed, and take what it had before."""
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
    """Take the session from the browser."""
    response.delete_cookie(SESSION_COOKIE, path=BASE, httponly=True, samesite="lax", secure=secure)
