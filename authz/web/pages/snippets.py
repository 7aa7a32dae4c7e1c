"""Build the shell commands that set up clients with a new token."""

import re
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from authz.clients.catalog import Client, clients, curl
from authz.clients.rendering import HEADINGS, client_url, fill, kind_of
from authz.config.provider_status import has_central
from authz.config.settings import Config, Provider
from authz.core.explanation import Person
from authz.core.permissions import Use, permit
from authz.core.rules import Mode, TokenRules
from authz.secret import Secret

_SHOWN = ("claude-code", "codex")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Snippet:
    """Shell commands that set up one client.

    Attributes:
        id: unique on the page.
        install: the command that installs the client.
    """

    id: str
    title: str
    install: str
    lines: str


def snippets(
    config: Config,
    request: Request,
    rules: TokenRules,
    owner: Person,
    token: Secret,
) -> list[Snippet]:
    """Return snippets for Claude Code, Codex and curl, for every provider that the token may use.

    Args:
        config: has the providers.
        request: the request for the page. Its ``Referer`` is the form's URL, which has the address
            under which the browser reaches the gateway.
        rules: the token's limits.
        owner: of the token.
        token: the token to put into the commands.
    """
    base = _gateway(request)
    found: list[Snippet] = []
    for client in (*(clients()[name] for name in _SHOWN), curl()):
        seen: set[str] = set()
        for provider in config.providers:
            kind = kind_of(provider)
            mode = _mode(provider, rules, owner, allow_byok=config.allow_byok)
            lines = client.lines.get(mode, {}).get(kind) if mode else None
            if lines is None or kind in seen:
                continue
            seen.add(kind)
            url = {kind: client_url(config, provider, base)}
            found.append(_snippet(client, provider, mode, fill(lines, url), token))
    return found


def _gateway(request: Request) -> str | None:
    """Return the origin of the page before, if it is on this host."""
    try:
        parts = urlsplit(request.headers.get("referer", "").lower())
    except ValueError:
        return None
    origin = f"{parts.scheme}://{parts.netloc}"
    is_here = parts.netloc == request.headers.get("host", "").lower()
    return origin if is_here and _ORIGIN.fullmatch(origin) else None


def _mode(provider: Provider, rules: TokenRules, owner: Person, *, allow_byok: bool) -> str:
    """Return the mode whose lines work; empty if none do."""

    def permitted(mode: Mode) -> bool:
        return permit(rules, owner.groups, Use(provider.name, mode)).allowed

    if provider.name in owner.stored_keys:
        # The lines with the token alone use the stored key, and never the company's.
        return "centralized" if allow_byok and permitted(Mode.BYOK) else ""
    if permitted(Mode.CENTRALIZED) and has_central(provider):
        return "centralized"
    return "byok" if allow_byok and permitted(Mode.BYOK) else ""


def _snippet(client: Client, provider: Provider, mode: str, lines: str, token: Secret) -> Snippet:
    heading = f", {HEADINGS[mode][0].lower()}{HEADINGS[mode][1:]}" if mode == "byok" else ""
    return Snippet(
        id=f"{client.name}-{provider.name}",
        title=f"{client.title} ({provider.name}){heading}",
        install=client.install,
        lines=f"export CODER_TOKEN={shlex.quote(token.reveal())}\n{lines.rstrip()}",
    )
