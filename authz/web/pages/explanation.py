"""Show what a user may use, and why."""

from starlette.responses import Response

from authz.identity.accounts import User
from authz.web.explaining import explain_person, read_person
from authz.web.pages.context import PageContext


async def show_own(context: PageContext) -> Response:
    """Show what the caller may use."""
    return await _show(context, context.caller)


async def show_of_user(context: PageContext) -> Response:
    """Show what a user may use, to administrators and to the user."""
    return await _show(context, await context.target())


async def _show(context: PageContext, user: User) -> Response:
    key = None
    may_use_tokens = context.access.may_use_tokens_of(user)
    if may_use_tokens and (chosen := context.request.query_params.get("token", "")):
        key = await context.access.find_key(user, chosen)
    config = context.pages.config()
    person = await read_person(context.store, config, user)
    return context.show(
        "explain.html",
        user=user,
        groups=await context.store.groups_of(user),
        is_own=user.id == context.caller.id,
        tokens=await context.store.list_tokens(user) if may_use_tokens else [],
        key=key,
        uses=[
            (provider, explain_person(person, config, provider, key))
            for provider in config.provider_names
        ],
    )
