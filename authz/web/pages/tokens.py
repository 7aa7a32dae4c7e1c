"""List, create and end tokens: the caller's own, or another user's for an administrator."""

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from authz import lifetimes
from authz.core.rules import Mode, TokenRules, make_rules
from authz.identity.accounts import ApiKey, User
from authz.identity.names import check_token_name
from authz.identity.roles import longest_lifetime
from authz.identity.store_keys import NameTaken, NotRotated, OwnerChanged, TooManyTokens
from authz.secret import Secret
from authz.web.explaining import read_person
from authz.web.pages.context import PageContext
from authz.web.pages.forms import reveal_digest
from authz.web.pages.responses import not_found, see
from authz.web.pages.snippets import Snippet, snippets

_PRESETS = (
    ("8h", "8 hours"),
    ("1d", "1 day"),
    ("7d", "7 days"),
    ("30d", "30 days"),
    ("90d", "90 days"),
    ("1y", "1 year"),
)
_PRESET = "7d"
_OVERLAPS = (
    ("0s", "no longer"),
    ("1h", "1 hour more"),
    ("1d", "1 day more"),
    ("7d", "7 days more"),
)
_OVERLAP = "1h"
_MODES = (
    (Mode.CENTRALIZED, "the company's key"),
    (Mode.BYOK, "the user's own key or subscription"),
)


async def show_tokens(context: PageContext) -> Response:
    """Show the caller's own tokens, newest first."""
    return context.show(
        "tokens.html",
        groups=await context.store.groups_of(context.caller),
        list_page=await context.tokens_of(context.caller),
        now=datetime.now(UTC),
        path=_path(context, context.caller),
        kept=lifetimes.RETENTION.days,
    )


async def show_new(context: PageContext) -> Response:
    """Show the form for a new token."""
    return _form(context, await context.token_owner())


async def create(context: PageContext) -> Response:
    """Create a token and redirect to the page that shows it."""
    owner = await context.token_owner()
    name = context.given("name")
    problems: dict[str, str] = {}
    if name and (problem := check_token_name(name)):
        problems["name"] = problem
    lifetime = _lifetime(context, owner, problems)
    rules = _rules(context, problems)
    if not problems:
        try:
            _, key = await context.store.create_token(
                owner, name or None, lifetime, rules, digest=reveal_digest(context.secret)
            )
        except NameTaken:
            problems["name"] = "A token with this name exists. Choose another name."
        except OwnerChanged:
            problems["name"] = "This user is not active. Activate the user first."
        except TooManyTokens as error:
            problems["name"] = f"{error}."
        else:
            # A redirect, so that a reload does not send the form again and create another token.
            return see(f"{_path(context, owner)}/{key.id}/created")
    return _form(context, owner, problems, status=400)


async def show_created(context: PageContext) -> Response:
    """Show a new token once. This request gives the token its secret.

    A GET may change the token here: only the session that created the token can make the change,
    and the token can't be used before.
    """
    owner, key = await context.key()
    text = None
    if context.request.method == "GET":
        text = await context.store.reveal_token(key, reveal_digest(context.secret))
    shown: list[Snippet] = []
    if text is not None:
        config = context.pages.config()
        person = await read_person(context.store, config, owner)
        shown = snippets(config, context.request, key.rules, person, Secret(text))
    return context.show(
        "token.html",
        200 if text is not None else 410,
        owner=owner,
        key=key,
        text=text,
        snippets=shown,
        path=_path(context, owner),
        back=_back(context, owner),
    )


async def ask_rotate(context: PageContext) -> Response:
    """Show the form that replaces a token by a new one."""
    owner, key = await context.key()
    return _rotation(context, owner, key)


async def rotate(context: PageContext) -> Response:
    """Replace a token by a new one and redirect to the page that shows it."""
    owner, key = await context.key()
    overlap = dict(_OVERLAPS).get(context.given("overlap"))
    if overlap is None:
        return _rotation(context, owner, key, "Choose how long the old token works.")
    try:
        _, new = await context.store.rotate_token(
            owner,
            key,
            lifetimes.parse_duration(context.given("overlap")),
            digest=reveal_digest(context.secret),
        )
    except OwnerChanged:
        return _rotation(context, owner, key, "This user is not active. Activate the user first.")
    except (NameTaken, NotRotated, TooManyTokens) as error:
        return _rotation(context, owner, key, f"The token was not rotated: {error}.")
    return see(f"{_path(context, owner)}/{new.id}/created")


def _rotation(context: PageContext, owner: User, key: ApiKey, problem: str = "") -> Response:
    return context.show(
        "rotate.html",
        400 if problem else 200,
        key=key,
        problem=problem,
        overlaps=_OVERLAPS,
        chosen=_OVERLAP,
        back=_back(context, owner),
    )


async def ask_delete(context: PageContext) -> Response:
    """Ask for confirmation before a token is deleted."""
    owner, key = await context.key()
    return context.show(
        "confirm.html",
        title=f"Delete the token {key.token_name}?",
        text="The gateway refuses it from the next request on. This can't be undone.",
        button="Delete the token",
        back=_back(context, owner),
    )


async def delete(context: PageContext) -> Response:
    """Delete a token. The next request with it is refused."""
    owner, key = await context.key()
    if not await context.store.delete_token(key):
        raise not_found()
    return context.see_done(_back(context, owner), f"The token {key.token_name} was deleted.")


async def ask_expire(context: PageContext) -> Response:
    """Ask for confirmation before a token is expired."""
    owner, key = await context.key()
    return context.show(
        "confirm.html",
        title=f"Expire the token {key.token_name}?",
        text=(
            "The gateway refuses it from the next request on. It stays in the list for "
            f"{lifetimes.RETENTION.days} days. This can't be undone."
        ),
        button="Expire the token",
        back=_back(context, owner),
    )


async def expire(context: PageContext) -> Response:
    """Expire a token and keep its record."""
    owner, key = await context.key()
    if not await context.store.expire_token(key):
        raise not_found()
    return context.see_done(_back(context, owner), f"The token {key.token_name} was expired.")


def _path(context: PageContext, owner: User) -> str:
    return "/account/tokens" if owner.id == context.caller.id else f"/users/{owner.id}/tokens"


def _back(context: PageContext, owner: User) -> str:
    return "/account/tokens" if owner.id == context.caller.id else f"/users/{owner.id}"


def _form(
    context: PageContext, owner: User, problems: dict[str, str] | None = None, status: int = 200
) -> Response:
    maximum = longest_lifetime(owner)
    return context.show(
        "new_token.html",
        status,
        owner=owner,
        is_own=owner.id == context.caller.id,
        problems=problems or {},
        name=context.given("name"),
        presets=[preset for preset in _PRESETS if lifetimes.parse(preset[0]) <= maximum],
        preset=context.given("preset") or _PRESET,
        lifetime=context.given("lifetime"),
        maximum=_in_words(maximum),
        providers=context.pages.config().provider_names,
        chosen=context.form.get("provider", ()),
        modes=_MODES,
        chosen_modes=context.form.get("mode", ()),
        back=_back(context, owner),
    )


def _lifetime(context: PageContext, owner: User, problems: dict[str, str]) -> timedelta:
    maximum = longest_lifetime(owner)
    preset = context.given("preset") or _PRESET
    text = context.given("lifetime") if preset == "other" else preset
    try:
        lifetime = lifetimes.parse(text)
    except ValueError as error:
        problems["lifetime"] = str(error)
        return maximum
    if lifetime > maximum:
        problems["lifetime"] = f"The longest lifetime is {_in_words(maximum)}."
    return lifetime


def _in_words(duration: timedelta) -> str:
    return f"{duration.days // 365} years" if duration.days >= 730 else f"{duration.days} days"


def _rules(context: PageContext, problems: dict[str, str]) -> TokenRules:
    try:
        return make_rules(
            context.form.get("provider"),
            context.form.get("mode"),
            [provider.name for provider in context.pages.config().providers],
        )
    except ValueError as error:
        problems["rules"] = str(error)
        return TokenRules()
