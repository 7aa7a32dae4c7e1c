"""Sign in and out, and set the first administrator's password."""

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
from authz.web.pages.context import SESSION_COOKIE, PageContext, drop_session, set_session
from authz.web.pages.forms import one
from authz.web.pages.responses import BASE, HEADERS, PageError, page, see
from authz.web.sign_in import PASSWORDS_OFF, SignedIn, SignInRefused, TooManySignIns

_OWN_PATH = re.compile(rf"{BASE}/[a-zA-Z0-9/_-]*")
_HOME = "/account/tokens"
_SIGNED_OUT = {
    "this": "You are signed out.",
    "all": "You are signed out everywhere. Your tokens stay valid.",
}
"""Fixed texts, so that a link to the form can't put words into it."""
_BAD_CODE = "This code is invalid, used or expired. Start 'authz up' again to get a new one."


async def show_sign_in(context: PageContext) -> Response:
    """Show the sign-in form, or redirect a user who is signed in."""
    if context.authenticated is not None:
        return see(_HOME)
    query = context.request.query_params
    return _form(context, query.get("next", ""), notice=_SIGNED_OUT.get(query.get("ended", ""), ""))


async def sign_in(context: PageContext) -> Response:
    """Create a session with a new secret. The browser's earlier session ends."""
    name, next_path = context.given("name"), one(context.form, "next")
    old = context.request.cookies.get(SESSION_COOKIE, "")[:ID_LENGTH] or None
    try:
        if by_token := context.given("token"):
            signed_in = await context.pages.sign_in.by_token(
                context.store, Secret(by_token), context.peer, instead_of=old
            )
        else:
            signed_in = await context.pages.sign_in.by_password(
                context.store,
                name,
                Secret(one(context.form, "password")),
                context.peer,
                instead_of=old,
            )
    except TooManySignIns as error:
        raise too_many(error.seconds) from None
    except SignInRefused as error:
        return _form(context, next_path, problem=str(error), status=401)
    return show_signed_in(context, signed_in, next_path)


def too_many(seconds: int) -> PageError:
    """Return the error page for too many attempts."""
    text = f"Too many attempts. Wait {seconds} seconds and try again."
    return PageError(429, text, {"retry-after": str(seconds)})


async def sign_out(context: PageContext) -> Response:
    """End the session, or all sessions of the user."""
    assert context.authenticated is not None  # noqa: S101
    ended = "all" if context.given("everywhere") else "this"
    if ended == "all":
        await context.store.sign_out_everywhere(context.caller)
    else:
        await context.store.sign_out(context.authenticated.key)
    url = await context.pages.end_session(context) if context.pages.end_session else None
    response = _signed_out(context, url) if url else see(f"/sign-in?ended={ended}")
    drop_session(response, secure=context.pages.secure)
    return response


def _signed_out(context: PageContext, url: str) -> Response:
    """Lead the browser to the OpenID provider, to sign out there too.

    A page does it: the form's own redirect may not leave the gateway (``form-action``).
    """
    return page("leave.html", headers={"refresh": f"0; url={url}"}, caller=None, here="", url=url)


async def show_first(context: PageContext) -> Response:
    """Show the form of the one-time link. Its code follows ``#``, so no log has it."""
    _check_passwords(context)
    if context.authenticated is not None:
        return see(_HOME)
    return context.show("first.html", problem="", name="admin", code="")


async def set_first(context: PageContext) -> Response:
    """Create the first owner with a password. It works once, while there is no owner."""
    _check_passwords(context)
    config = context.pages.config()
    code = Secret(context.given("code"))
    if not first_link.is_valid(config, code) or not first_link.is_needed(
        await context.store.list_users()
    ):
        return context.show("first.html", 403, problem=_BAD_CODE, name="admin", code="")
    name, password = context.given("name"), Secret(one(context.form, "password"))
    user = None if check_user_name(name) else await context.store.find_user(name)
    problem = check_user_name(name) or check_password(password, name)
    if problem is None and password != Secret(one(context.form, "again")):
        problem = "the two passwords differ"
    if problem is None and user is not None and _is_unfit_as_owner(user):
        problem = "this user can't be an administrator: choose another name"
    if problem is not None:
        # The form gets its code back, because the URL no longer has it.
        return context.show("first.html", 400, problem=problem, name=name, code=code.reveal())
    if not first_link.take(config, code):
        return context.show("first.html", 403, problem=_BAD_CODE, name=name, code="")
    store = context.store.acting(Actor("nobody", "one-time link", ip=context.peer))
    if user is None:
        user = await store.create_user(name, role=roles.OWNER)
    elif not roles.is_owner(user):
        user = await store.set_role(user, roles.OWNER)
    await store.set_password(user, password)
    try:
        signed_in = await context.pages.sign_in.by_password(store, name, password, context.peer)
    except (SignInRefused, TooManySignIns, StoreError):
        return see("/sign-in")
    return show_signed_in(context, signed_in, "")


def _check_passwords(context: PageContext) -> None:
    if not context.pages.config().sign_in.passwords:
        raise PageError(403, PASSWORDS_OFF)


def _is_unfit_as_owner(user: User) -> bool:
    return user.is_service_account or user.status == "suspended"


def _form(
    context: PageContext,
    next_path: str,
    *,
    problem: str = "",
    notice: str = "",
    status: int = 200,
) -> Response:
    return context.show(
        "sign_in.html",
        status,
        problem=problem,
        notice=notice,
        next=own_path(next_path),
        passwords=context.pages.config().sign_in.passwords,
        providers=context.pages.providers,
    )


def own_path(path: str) -> str:
    """Return a path of these pages, or an empty text, so that no sign-in leads to another site."""
    return path if _OWN_PATH.fullmatch(path) else ""


def show_signed_in(context: PageContext, signed_in: SignedIn, next_path: str) -> Response:
    """Give the browser its session, and lead it to a page of the gateway."""
    target = own_path(next_path) or f"{BASE}{_HOME}"
    response = RedirectResponse(target, 303, headers=HEADERS)
    set_session(response, signed_in, secure=context.pages.secure)
    return response
