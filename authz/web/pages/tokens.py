"""Tokens: the list, making one, ending one; of oneself, or of whom an administrator may."""

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from authz import lifetimes
from authz.core.rules import Mode, TokenRules, make_rules
from authz.identity.accounts import User
from authz.identity.names import check_token_name
from authz.identity.roles import longest_lifetime
from authz.identity.store import NameTaken, OwnerChanged
from authz.secret import Secret
from authz.web.pages.context import Visit
from authz.web.pages.forms import reveal_digest
from authz.web.pages.responses import not_found, see
from authz.web.pages.snippets import blocks

_PRESETS = (
    ("8h", "8 hours"),
    ("1d", "1 day"),
    ("7d", "7 days"),
    ("30d", "30 days"),
    ("90d", "90 days"),
    ("1y", "1 year"),
)
_PRESET = "7d"
_MODES = (
    (Mode.CENTRALIZED, "the company's key"),
    (Mode.BYOK, "one's own key or subscription"),
)


async def show_tokens(visit: Visit) -> Response:
    """Show one's own tokens, the newest first."""
    return visit.show(
        "tokens.html",
        part=await visit.tokens_of(visit.caller),
        now=datetime.now(UTC),
        path=_path(visit, visit.caller),
        kept=lifetimes.RETENTION.days,
    )


async def show_new(visit: Visit) -> Response:
    """Show the form of a new token."""
    return _form(visit, await visit.token_owner())


async def create(visit: Visit) -> Response:
    """Create a token and lead to the page that shows it."""
    owner = await visit.token_owner()
    name = visit.given("name")
    problems: dict[str, str] = {}
    if name and (problem := check_token_name(name)):
        problems["name"] = problem
    lifetime = _lifetime(visit, owner, problems)
    rules = _rules(visit, problems)
    if not problems:
        try:
            _, key = await visit.store.create_token(
                owner, name or None, lifetime, rules, digest=reveal_digest(visit.secret)
            )
        except NameTaken:
            problems["name"] = "There is a token of this name: choose another."
        except OwnerChanged:
            problems["name"] = "This user is not active."
        else:
            # A form that is sent again, as by a reload, would create another token.
            return see(f"{_path(visit, owner)}/{key.id}/created")
    return _form(visit, owner, problems, status=400)


async def show_created(visit: Visit) -> Response:
    """Show a new token, once: the token gets its secret with this answer.

    A GET that changes something is safe here: it changes the token only for the session that has
    just created it, and until then nobody can use the token.
    """
    owner, key = await visit.key()
    text = None
    if visit.request.method == "GET":
        text = await visit.store.reveal_token(key, reveal_digest(visit.secret))
    lines = []
    if text is not None:
        lines = blocks(visit.pages.config(), visit.request, key.rules, Secret(text))
    return visit.show(
        "token.html",
        200 if text is not None else 410,
        owner=owner,
        key=key,
        text=text,
        blocks=lines,
        path=_path(visit, owner),
        back=_back(visit, owner),
    )


async def ask_delete(visit: Visit) -> Response:
    """Ask whether to delete a token."""
    owner, key = await visit.key()
    return visit.show(
        "confirm.html",
        title=f"Delete the token {key.token_name}?",
        text="Requests with it are refused from the next one on. This can't be undone.",
        button="Delete the token",
        back=_back(visit, owner),
    )


async def delete(visit: Visit) -> Response:
    """Delete a token; it counts for the next request."""
    owner, key = await visit.key()
    if not await visit.store.delete_token(key):
        raise not_found()
    return see(_back(visit, owner))


async def ask_expire(visit: Visit) -> Response:
    """Ask whether to end a token and keep its record."""
    owner, key = await visit.key()
    return visit.show(
        "confirm.html",
        title=f"Expire the token {key.token_name}?",
        text=(
            "Requests with it are refused from the next one on. Its line stays in the list for "
            f"{lifetimes.RETENTION.days} days. This can't be undone."
        ),
        button="Expire the token",
        back=_back(visit, owner),
    )


async def expire(visit: Visit) -> Response:
    """End a token and keep its record."""
    owner, key = await visit.key()
    if not await visit.store.expire_token(key):
        raise not_found()
    return see(_back(visit, owner))


def _path(visit: Visit, owner: User) -> str:
    return "/account/tokens" if owner.id == visit.caller.id else f"/users/{owner.id}/tokens"


def _back(visit: Visit, owner: User) -> str:
    return "/account/tokens" if owner.id == visit.caller.id else f"/users/{owner.id}"


def _form(
    visit: Visit, owner: User, problems: dict[str, str] | None = None, status: int = 200
) -> Response:
    maximum = longest_lifetime(owner)
    return visit.show(
        "new_token.html",
        status,
        owner=owner,
        is_own=owner.id == visit.caller.id,
        problems=problems or {},
        name=visit.given("name"),
        presets=[preset for preset in _PRESETS if lifetimes.parse(preset[0]) <= maximum],
        preset=visit.given("preset") or _PRESET,
        lifetime=visit.given("lifetime"),
        maximum=_in_words(maximum),
        providers=visit.pages.config().provider_names,
        chosen=visit.form.get("provider", ()),
        modes=_MODES,
        chosen_modes=visit.form.get("mode", ()),
        back=_back(visit, owner),
    )


def _lifetime(visit: Visit, owner: User, problems: dict[str, str]) -> timedelta:
    maximum = longest_lifetime(owner)
    preset = visit.given("preset") or _PRESET
    text = visit.given("lifetime") if preset == "other" else preset
    try:
        lifetime = lifetimes.parse(text)
    except ValueError as error:
        problems["lifetime"] = str(error)
        return maximum
    if lifetime > maximum:
        problems["lifetime"] = f"A lifetime is at most {_in_words(maximum)} here."
    return lifetime


def _in_words(duration: timedelta) -> str:
    return f"{duration.days // 365} years" if duration.days >= 730 else f"{duration.days} days"


def _rules(visit: Visit, problems: dict[str, str]) -> TokenRules:
    try:
        return make_rules(
            visit.form.get("provider"),
            visit.form.get("mode"),
            [provider.name for provider in visit.pages.config().providers],
        )
    except ValueError as error:
        problems["rules"] = str(error)
        return TokenRules()
