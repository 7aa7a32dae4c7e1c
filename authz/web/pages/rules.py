"""List limits and rules for models that were set, and let owners set and remove them."""

from dataclasses import dataclass

from starlette.responses import Response

from authz.assigned.rule import (
    LIMITS,
    AssignedRule,
    RuleKind,
    Value,
    check_value,
    parse_number,
    words_of,
)
from authz.assigned.store import AssignedStore
from authz.errors import StoreError
from authz.identity import roles
from authz.identity.owners import OwnerKind
from authz.printable import printable
from authz.web.pages.context import PageContext
from authz.web.pages.owner_fields import OWNER_KINDS, check_may_change, choice, find_owner
from authz.web.pages.paging import COUNT, list_page, requested_offset
from authz.web.pages.responses import PageError, not_found

PATH = "/rules"
_KINDS = {
    RuleKind.REQUESTS: "requests per minute",
    RuleKind.TOKENS: "tokens per minute",
    RuleKind.CONCURRENT: "concurrent requests",
    RuleKind.ALLOW: "models that are allowed, and no others",
    RuleKind.DENY: "models that are refused",
}
_LONGEST_VALUE = 4096


@dataclass(frozen=True, slots=True)
class ShownRule:
    """A rule, for a template.

    Attributes:
        owner: the kind and name of the owner.
        kind: such as ``requests per minute``.
        path: of its removal, below ``PATH``.
    """

    owner: str
    kind: str
    value: str
    path: str


async def show_rules(context: PageContext) -> Response:
    """Show all rules to administrators."""
    return await _page(context)


async def set_rule(context: PageContext) -> Response:
    """Set a rule, which every process holds within 2 seconds."""
    check_may_change(context)
    problems: dict[str, str] = {}
    kind = choice(context, "kind", RuleKind)
    if kind not in _kinds(context):
        raise not_found()
    owner, owner_id = await find_owner(context, problems)
    value: Value = 0
    try:
        value = _value(kind, context.given("value")[:_LONGEST_VALUE])
    except ValueError as error:
        problems["value"] = f"{str(error)[:1].upper()}{str(error)[1:]}."
    if problems:
        return await _page(context, problems, 400)
    store = await _store(context)
    (rule,) = await store.set_rules(owner, owner_id, {kind: value})
    return context.see_done(PATH, f"{_words(rule)} is now {words_of(rule.value)}.")


async def ask_remove(context: PageContext) -> Response:
    """Ask for confirmation before a rule is removed."""
    rule = await _rule(context)
    return context.show(
        "confirm.html",
        title=f"Remove a rule of {_owner_of(rule)}?",
        text=f"{_words(rule)} ({words_of(rule.value)}) ends within 2 seconds. "
        "Rules of gateway.yaml still count.",
        button="Remove the rule",
        back=PATH,
    )


async def remove(context: PageContext) -> Response:
    """Remove a rule."""
    rule = await _rule(context)
    store = await _store(context)
    if not await store.remove_rule(rule):
        raise not_found()
    return context.see_done(PATH, f"{_words(rule)} was removed.")


def _kinds(context: PageContext) -> dict[RuleKind, str]:
    """Return the kinds of rules that this gateway holds."""
    config = context.pages.config()
    models = config.models is not None and config.models.assigned
    limits = config.limits.shared is not None
    return {
        kind: text
        for kind, text in _KINDS.items()
        if config.uses_assigned_rules and (limits if kind in LIMITS else models)
    }


async def _store(context: PageContext) -> AssignedStore:
    rules = context.store.part(AssignedStore)
    await rules.prepare()
    return rules


async def _rule(context: PageContext) -> AssignedRule:
    check_may_change(context)
    wanted = context.request.path_params
    for rule in await (await _store(context)).list_rules(_kinds(context)):
        if (rule.owner, rule.owner_id, rule.kind) == (
            wanted["owner"],
            wanted["owner_id"],
            wanted["kind"],
        ):
            return rule
    raise not_found()


def _value(kind: RuleKind, text: str) -> Value:
    """Return the value of a rule from a number, or from names of models between spaces or commas.

    Raises:
        ValueError: the text is not such a value; the message says why.
    """
    value = parse_number(text.strip()) if kind in LIMITS else tuple(text.replace(",", " ").split())
    return check_value(kind, value)


def _owner_of(rule: AssignedRule) -> str:
    name = printable(rule.name or rule.owner_id)
    return f'{rule.owner} "{name}"'


def _words(rule: AssignedRule) -> str:
    return f"The rule of {_owner_of(rule)} about {_KINDS[rule.kind]}"


async def _page(
    context: PageContext, problems: dict[str, str] | None = None, status: int = 200
) -> Response:
    kinds = _kinds(context)
    if not kinds or not context.access.sees_all_users:
        raise not_found()
    try:
        rules = await (await _store(context)).list_rules(kinds)
    except StoreError:
        # A rule of a later version can't be shown; the commands say which.
        raise PageError(503, "The rules can't be read now.") from None
    shown = [
        ShownRule(
            _owner_of(one),
            _KINDS[one.kind],
            words_of(one.value),
            f"{one.owner}/{one.owner_id}/{one.kind}/remove",
        )
        for one in rules
    ]
    offset = requested_offset(context.request)
    return context.show(
        "rules.html",
        status,
        may_change=roles.is_owner(context.caller),
        problems=problems or {},
        list_page=list_page(shown[offset : offset + COUNT + 1], offset),
        owner_kinds=OWNER_KINDS,
        kinds=kinds,
        owner=context.given("owner") or OwnerKind.USER,
        kind=context.given("kind") or next(iter(kinds)),
        name=context.given("name"),
        value=context.given("value"),
    )
