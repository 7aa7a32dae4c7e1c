"""Write the text that ``authz up`` prints when the gateway is ready."""

import shlex

from authz.clients.catalog import Client, clients, curl
from authz.clients.rendering import base_url, client_url, fill, kind_of
from authz.config.provider_status import ProviderStatus, provider_statuses
from authz.config.settings import Config, Provider
from authz.database.url import CoderURL, PostgresURL, parse_identity_url
from authz.up.first_secrets import FirstSecrets, first_link
from authz.up.first_start import FIRST_USER
from authz.up.invocation import Command

_DEMO_OWN_KEYS = {
    "$ANTHROPIC_API_KEY": "sk-ant-my-own-key",
    "$OPENAI_API_KEY": "sk-my-own-key",
}
_CLIENTS = ("claude-code", "codex")
_TITLES = {"centralized": "", "byok": ", with your own key"}


def banner(
    config: Config,
    first: FirstSecrets,
    user: str | None,
    command: Command,
    *,
    demo: bool,
) -> str:
    """Return the text, with base URLs and commands to paste into a shell.

    Args:
        config: the configuration of the gateway.
        first: the secrets of the first start. The text shows those that were not written to files.
        user: the user whose token the example creates; None if the store has no user.
        command: returns a shell command that runs ``authz`` from any folder.
        demo: the stand-in provider answers instead of the real ones.
    """
    lines = [f"The gateway is up: {base_url(config)}", ""]
    if demo:
        lines += ["Demo: a stand-in provider on this machine answers all requests (--demo).", ""]
    statuses = provider_statuses(config)
    lines += ["Base URLs"]
    lines += [
        f"  {provider.name:<12} {client_url(config, provider)}" for provider in config.providers
    ]
    lines += ["", "Credentials"]
    lines += [f"  {status.line}" for status in statuses]
    lines += ["", *_page_lines(config, first)]
    lines += ["", *_token_lines(config, first, user, command)]
    for provider, status in zip(config.providers, statuses, strict=True):
        lines += _provider_lines(config, provider, status, demo=demo)
    if config.proxy is not None:
        lines += ["", "Tools that can't set a base URL use the proxy"]
        lines += [f'  eval "$({command("proxy", "env")})"']
    lines += ["", "More clients and modes", f"  ({command('client')})"]
    lines += ["", "Ctrl-C stops it; open streams finish first."]
    return "\n".join(lines)


def _page_lines(config: Config, first: FirstSecrets) -> list[str]:
    lines = ["Manage tokens and users, and see usage, in a browser", f"  {base_url(config)}/ui/"]
    if first.link_file is not None:
        lines += [
            "Link to set the first administrator's password, once and within 15 minutes, in a file",
            f"  cat {shlex.quote(str(first.link_file))}",
        ]
    elif first.code is not None:
        lines += [
            "Link to set the first administrator's password, once and within 15 minutes",
            f"  {first_link(config, first.code)}",
        ]
    return lines


def _token_lines(
    config: Config, first: FirstSecrets, user: str | None, command: Command
) -> list[str]:
    if first.token is not None:
        title = f"A Coder token of the user {first.token.username}, valid for 7 days"
        if first.token_file is not None:
            file = shlex.quote(str(first.token_file))
            return [f"{title}: see the file", f'  export CODER_TOKEN="$(cat {file})"']
        return [
            f"{title} and shown only once",
            f"  export CODER_TOKEN={first.token.token.reveal()}",
        ]
    identity = parse_identity_url(config.identity)
    lines = ["A Coder token"]
    if isinstance(identity, CoderURL | PostgresURL):
        lines += ["  export CODER_TOKEN=$(coder tokens create --lifetime 8h)"]
    if isinstance(identity, CoderURL):
        return lines
    if isinstance(identity, PostgresURL):
        lines += ["or, if the database belongs to authz"]
    elif user is None:
        lines += [f"  ({command('users', 'create', FIRST_USER)})"]
    create = command("tokens", "create", "--user", user or FIRST_USER, "--lifetime", "8h")
    return [*lines, f"  export CODER_TOKEN=$({create})"]


def _provider_lines(
    config: Config, provider: Provider, status: ProviderStatus, *, demo: bool
) -> list[str]:
    """Return the commands for the clients that can work with a provider."""
    kind = kind_of(provider)
    url = {kind: client_url(config, provider)}
    lines: list[str] = []
    for client, mode in _shown(status):
        text = client.lines.get(mode, {}).get(kind)
        if text is None:
            continue
        filled = fill(text, url).rstrip()
        if demo:
            for variable, key in _DEMO_OWN_KEYS.items():
                filled = filled.replace(variable, key)
        lines += ["", f"{client.title} ({provider.name}){_TITLES[mode]}", *_to_paste(filled)]
    return lines


def _shown(status: ProviderStatus) -> list[tuple[Client, str]]:
    every = [*(clients()[name] for name in _CLIENTS), curl()]
    if not status.central:
        return [(client, "byok") for client in every] if status.own else []
    shown = [(client, "centralized") for client in every]
    return [*shown, (curl(), "byok")] if status.own else shown


def _to_paste(text: str) -> list[str]:
    lines = [f"  {line}" for line in text.splitlines()]
    # A subshell, so that exported variables do not stay and pass as the user's own keys later.
    return ["  (", *lines, "  )"] if len(lines) > 1 else lines
