"""Approve a sign-in of a program that shows a code (RFC 8628 section 3.3)."""

from starlette.responses import Response

from authz.core.device import read_user_code, shown_user_code
from authz.identity.store_devices import DeviceRequest, DeviceStore, TooManyCodes
from authz.web.pages.context import PageContext
from authz.web.pages.responses import PageError
from authz.web.sign_in import network

SESSION = "session"
_UNKNOWN = (
    "No sign-in waits with this code. Compare it with the one that your program shows; a code is "
    "valid for ten minutes."
)
_TOO_MANY = "Too many wrong codes came from your network. Wait ten minutes and try again."


async def show_code(context: PageContext) -> Response:
    """Show the field for the code. A code in the URL only fills it (RFC 8628 section 5.4)."""
    given = read_user_code(context.request.path_params.get("code", ""))
    return _form(context, shown_user_code(given) if given else "")


async def find(context: PageContext) -> Response:
    """Show what a program asks for, with the buttons to approve and to deny it."""
    code = read_user_code(context.given("code"))
    found = await _find(context, code) if code else None
    if code is None or found is None:
        return _form(context, "", _UNKNOWN, 404)
    return context.show(
        "device_confirm.html",
        code=shown_user_code(code),
        found=found,
        is_session=found.kind == SESSION,
    )


async def decide(context: PageContext) -> Response:
    """Approve or deny a sign-in, once."""
    code = read_user_code(context.given("code"))
    approve = {"approve": True, "deny": False}.get(context.given("decision"))
    if approve is None or code is None or await _find(context, code) is None:
        return _form(context, "", _UNKNOWN, 404)
    store = context.store.part(DeviceStore)
    if not await store.decide_device_request(code, context.caller, approve=approve):
        return _form(context, "", _UNKNOWN, 404)
    return context.show("device_done.html", approved=approve)


async def _find(context: PageContext, code: str) -> DeviceRequest | None:
    store = context.store.part(DeviceStore)
    try:
        return await store.find_device_request(code, network(context.peer))
    except TooManyCodes:
        raise PageError(429, _TOO_MANY, {"retry-after": "600"}) from None


def _form(context: PageContext, code: str, problem: str = "", status: int = 200) -> Response:
    return context.show("device.html", status, code=code, problem=problem)
