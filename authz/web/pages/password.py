"""Change the caller's own password."""

from starlette.responses import Response

from authz.secret import Secret
from authz.web.pages.context import PageContext
from authz.web.pages.forms import one
from authz.web.pages.responses import not_found
from authz.web.pages.sign_in import too_many
from authz.web.sign_in import PasswordRefused, TooManySignIns

PATH = "/account/password"


async def show_form(context: PageContext) -> Response:
    """Show the form for a new password."""
    _check_has_password(context)
    return context.show("password.html", problem="", changed=False)


async def change(context: PageContext) -> Response:
    """Change the password. The caller's other sessions end, and their tokens stay."""
    _check_has_password(context)
    assert context.authenticated is not None  # noqa: S101
    old, new = Secret(one(context.form, "old_password")), Secret(one(context.form, "password"))
    if new != Secret(one(context.form, "again")):
        return _refused(context, "The two new passwords differ.")
    try:
        await context.pages.sign_in.change_password(
            context.store, context.authenticated, old, new, context.peer
        )
    except TooManySignIns as error:
        raise too_many(error.seconds) from None
    except PasswordRefused as error:
        return _refused(context, str(error))
    return context.show("password.html", problem="", changed=True)


def _refused(context: PageContext, problem: str) -> Response:
    return context.show("password.html", 400, problem=problem, changed=False)


def _check_has_password(context: PageContext) -> None:
    if not context.changes_password:
        raise not_found()
