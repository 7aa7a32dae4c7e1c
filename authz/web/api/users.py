"""Sign users in and out, and return users and build information."""

from starlette.responses import Response

from authz import __version__
from authz.secret import Secret
from authz.web.api.authentication import COOKIE, presented_token
from authz.web.api.call import Call, UserCall
from authz.web.api.errors import CODER_VERSION, ApiError, json_response, rate_limited
from authz.web.api.models import Login
from authz.web.sign_in import LIMITED_TOKEN, SignInRefused, TooManySignIns

_BUILD_INFO = {
    "external_url": "authz",
    # Coder's version: the coder command asks people to install the version that it finds here.
    "version": CODER_VERSION,
    "dashboard_url": "",
    "telemetry": False,
    "workspace_proxy": False,
    "agent_api_version": "",
    "provisioner_api_version": "",
    "upgrade_message": (
        f"This is authz, which implements part of the API of Coder {CODER_VERSION}. Other versions "
        "of the coder command work too."
    ),
    "deployment_id": "",
    "authz_version": f"v{__version__}",
}


async def build_info(_call: Call) -> Response:
    """Return the version of this server."""
    return json_response(200, _BUILD_INFO)


async def first_user(call: Call) -> Response:
    """Return whether any user exists. ``coder login`` asks before it signs in."""
    # The caller is not authenticated, so the query has to be cheap.
    if await call.store.has_users():
        return json_response(200, {"message": "The initial user has already been created!"})
    raise ApiError(404, "The initial user has not been created!")


async def log_in(call: Call) -> Response:
    """Create a session for a user and password, and end the session that the caller had."""
    given = await call.read(Login)
    try:
        signed_in = await call.services.sign_in.by_password(
            call.store,
            given.email,
            Secret(given.password),
            call.peer,
            instead_of=presented_token(call.request).partition("-")[0][:10] or None,
        )
    except TooManySignIns as error:
        raise rate_limited(error.seconds) from None
    except SignInRefused as error:
        raise ApiError(401, str(error)) from None
    text = signed_in.text.reveal()
    response = json_response(201, {"session_token": text})
    response.set_cookie(
        COOKIE, text, path="/", httponly=True, samesite="lax", secure=call.services.secure
    )
    return response


async def log_out(call: UserCall) -> Response:
    """End the session, or delete the token, of this call, as Coder does.

    With ``?everywhere=true`` all sessions of the user end. A limited token may only end itself.
    """
    if call.request.query_params.get("everywhere", "").lower() in ("1", "t", "true"):
        if call.is_limited:
            raise ApiError(403, LIMITED_TOKEN)
        await call.store.sign_out_everywhere(call.caller)
    await call.store.sign_out(call.authenticated.key)
    response = json_response(200, {"message": "Logged out!"})
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    return response


async def show_user(call: UserCall) -> Response:
    """Return the user in the path."""
    return json_response(200, (await call.target()).as_json())
