"""Say why a user may use a provider, or why not."""

from starlette.responses import Response

from authz.core.rules import make_rules
from authz.identity.names import check_token_name
from authz.web.api.call import UserCall
from authz.web.api.errors import ApiError, json_response, not_found
from authz.web.explaining import explain_use

_INVALID = "Query parameters have invalid values."


async def explain(call: UserCall) -> Response:
    """Return for each mode whether the user may use a provider, and why. authz adds this call."""
    user = await call.target()
    query = call.request.query_params
    try:
        provider = (make_rules([query.get("provider", "")]).providers or ("",))[0]
    except ValueError as error:
        raise ApiError(400, _INVALID, validations={"provider": str(error)}) from None
    try:
        modes = make_rules(None, [query["mode"]] if query.get("mode") else None).modes
    except ValueError as error:
        raise ApiError(400, _INVALID, validations={"mode": str(error)}) from None
    key = None
    if name := query.get("token", ""):
        owner = await call.token_owner()
        key = await call.access.find_key(owner, name)
        if key is None and check_token_name(name) is None:
            key = await call.store.find_named(owner, name)
        if key is None:
            raise not_found()
    config = call.services.config()
    mode = modes[0] if modes else None
    answers = await explain_use(call.store, config, user, provider, key, mode)
    return json_response(200, [answer.as_json() for answer in answers])
