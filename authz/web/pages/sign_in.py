"""Signing in and out, and the first administrator's password."""

import re

from starlette.responses import RedirectResponse, Response

from authz.core.tokens import ID_LENGTH
from authz.errors import StoreError
from authz.identity import roles
from authz.identity.accounts import User
from authz.identity.audit import Actor
from authz.identity.names import check_user_name
from authz.identity.passwords import check_password
from authz.secret import Secret
from authz.web import first_link
from authz.web.pages.context import SESSION_COOKIE, Visit, drop_session, set_session
from authz.web.pages.forms import one
from authz.web.pages.responses import BASE, HEADERS, PageError, see
from authz.web.sign_in import SignedIn, SignInRefused, TooManySignIns

_OWN_PATH = re.compile(rf"{BASE}/[a-zA-Z0-9/-]*")
_HOME = "/account/tokens"
_BAD_CODE = (
    "This code is not valid, was used already or has expired. Start 'authz up' again for a new one."
)


async def show_sign_in(visit: Visit) -> Response:
    """Show the form; who is signed in needs none."""
    if visit.proven is not None:
        return see(_HOME)
    return _form(visit, visit.request.query_params.get("next", ""))


async def sign_in(visit: Visit) -> Response:
    """Make a session, with a new secret whatever the browser had before."""
    name, next_path = visit.given("name"), one(visit.form, "next")
    old = visit.request.cookies.get(SESSION_COOKIE, "")[:ID_LENGTH] or None
    try:
        if by_token := visit.given("token"):
            signed_in = await visit.pages.sign_in.by_token(
                visit.store, Secret(by_token), visit.peer, instead_of=old
            )
        else:
            signed_in = await visit.pages.sign_in.by_password(
                visit.store,
                name,
                Secret(one(visit.form, "password")),
                visit.peer,
                instead_of=old,
            )
    except TooManySignIns as error:
        headers = {"retry-after": str(error.seconds)}
        raise PageError(
            429, f"Too many tries. Wait {error.seconds} seconds and try again.", headers
        ) from None
    except SignInRefused as error:
        return _form(visit, next_path, problem=str(error), status=401)
    return _signed_in(visit, signed_in, next_path)


async def sign_out(visit: Visit) -> Response:
    """End the session, or all of the user's."""
    assert visit.proven is not None  # noqa: S101
    if visit.given("everywhere"):
        await visit.store.sign_out_everywhere(visit.caller)
    else:
        await visit.store.sign_out(visit.proven.key)
    response = see("/sign-in")
    drop_session(response, secure=visit.pages.secure)
    return response


async def show_first(visit: Visit) -> Response:
    """Show the form of the one-time link, whose code is behind ``#`` and so in no log."""
    if visit.proven is not None:
        return see(_HOME)
    return visit.show("first.html", problem="", name="admin", code="")


async def set_first(visit: Visit) -> Response:
    """Make an owner with a password, once, while there is none."""
    config = visit.pages.config()
    code = Secret(visit.given("code"))
    if not first_link.is_valid(config, code) or not first_link.is_needed(
        await visit.store.list_users()
    ):
        return visit.show("first.html", 403, problem=_BAD_CODE, name="admin", code="")
    name, password = visit.given("name"), Secret(one(visit.form, "password"))
    user = None if check_user_name(name) else await visit.store.find_user(name)
    problem = check_user_name(name) or check_password(password, name)
    if problem is None and password != Secret(one(visit.form, "again")):
        problem = "the two passwords are not the same"
    if problem is None and user is not None and _can_be_no_owner(user):
        problem = "this user can't be an administrator: choose another name"
    if problem is not None:
        # The code goes back to whoever has sent it: it is no longer in the address.
        return visit.show("first.html", 400, problem=problem, name=name, code=code.reveal())
    if not first_link.take(config, code):
        return visit.show("first.html", 403, problem=_BAD_CODE, name=name, code="")
    store = visit.store.acting(Actor("nobody", "one-time link", ip=visit.peer))
    if user is None:
        user = await store.create_user(name, role=roles.OWNER)
    elif not roles.is_owner(user):
        user = await store.set_role(user, roles.OWNER)
    await store.set_password(user, password)
    try:
        signed_in = await visit.pages.sign_in.by_password(store, name, password, visit.peer)
    except (SignInRefused, TooManySignIns, StoreError):
        return see("/sign-in")
    return _signed_in(visit, signed_in, "")


def _can_be_no_owner(user: User) -> bool:
    return user.is_service_account or user.status == "suspended"


def _form(visit: Visit, next_path: str, *, problem: str = "", status: int = 200) -> Response:
    return visit.show("sign_in.html", status, problem=problem, next=_own(next_path))


def _own(path: str) -> str:
    """Return a path if it is one of ours, else nothing: no sign-in leads to another site."""
    return path if _OWN_PATH.fullmatch(path) else ""


def _signed_in(visit: Visit, signed_in: SignedIn, next_path: str) -> Response:
    target = _own(next_path) or f"{BASE}{_HOME}"
    response = RedirectResponse(target, 303, headers=HEADERS)
    set_session(response, signed_in, secure=visit.pages.secure)
    return response
