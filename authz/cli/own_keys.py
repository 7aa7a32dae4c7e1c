"""``authz own-keys``: provider keys that users store."""

import sys
from pathlib import Path

import click

from authz.cli.common import (
    choose_user,
    config_of_store,
    config_option,
    opened_store,
    output_option,
    print_rows,
    run_async,
)
from authz.cli.completion import complete_provider, complete_user
from authz.cli.groups import AliasedGroup, example
from authz.cli.waiting import told_if_slow
from authz.config.settings import Config
from authz.errors import ConfigError, StoreError
from authz.own_keys.keyring import Keyring
from authz.own_keys.providers import check_provider
from authz.own_keys.store import MAX_LENGTH, OwnKeyStore, check_own_key
from authz.secret import Secret

_user_option = click.option(
    "-u",
    "--user",
    "user_name",
    metavar="NAME",
    shell_complete=complete_user,
    help="The owner. Default: the user of 'authz login', else the only active person.",
)


@click.group(
    "own-keys",
    cls=AliasedGroup,
    aliases={"ls": "list", "rm": "remove", "delete": "remove"},
    epilog=example("authz own-keys set anthropic", "authz own-keys list"),
)
def own_keys() -> None:
    """Store provider keys of users, for clients that send one credential only."""


@own_keys.command(
    "set",
    epilog=example(
        "authz own-keys set anthropic --user alice",
        "authz own-keys set openai < key.txt",
    ),
)
@click.argument("provider", shell_complete=complete_provider)
@_user_option
@config_option
def set_(provider: str, user_name: str | None, config_path: Path | None) -> None:
    """Store a key for PROVIDER, read from the terminal or from standard input.

    It replaces an earlier key. From the next request on, a request with the user's Coder token
    alone uses this key instead of the central one.
    """

    async def work() -> None:
        config = config_of_store(config_path)
        ring = _keyring(config)
        check_provider(config, provider)
        master = ring.newest
        async with opened_store(config.identity) as store:
            user = await choose_user(store, config.identity, user_name)
            key = check_own_key(_read_key().reveal())
            keys = store.part(OwnKeyStore)
            _, is_new = await keys.set_key(user, provider, key, master)
            verb = "stored" if is_new else "replaced"
            click.echo(f"The key of {user.username} for provider {provider} has been {verb}.")

    run_async(work())


@own_keys.command("list", epilog=example("authz own-keys list", "authz own-keys ls -o json"))
@_user_option
@output_option
@config_option
def list_(user_name: str | None, output: str, config_path: Path | None) -> None:
    """List the stored keys of a user by their last four characters."""

    async def work() -> None:
        config = config_of_store(config_path)
        async with opened_store(config.identity) as store:
            user = await choose_user(store, config.identity, user_name)
            found = await store.part(OwnKeyStore).list_keys(user)
            rows = [
                {
                    "PROVIDER": key.provider,
                    "KEY": key.hint or "...",
                    "UPDATED AT": f"{key.updated_at:%Y-%m-%dT%H:%M:%SZ}",
                }
                for key in found
            ]
            print_rows(rows, [key.as_json() for key in found], output, "No keys found.")

    run_async(work())


@own_keys.command(epilog=example("authz own-keys remove anthropic --user alice"))
@click.argument("provider", shell_complete=complete_provider)
@_user_option
@config_option
def remove(provider: str, user_name: str | None, config_path: Path | None) -> None:
    """Delete the stored key for PROVIDER, effective with the next request."""

    async def work() -> None:
        config = config_of_store(config_path)
        async with opened_store(config.identity) as store:
            user = await choose_user(store, config.identity, user_name)
            if not await store.part(OwnKeyStore).remove_key(user, provider):
                raise StoreError(
                    f"{user.username} has no key for this provider: 'authz own-keys list' shows"
                    " the stored ones"
                )
            click.echo(f"The key of {user.username} for provider {provider} has been deleted.")

    run_async(work())


@own_keys.command(epilog=example("authz own-keys rotate"))
@config_option
def rotate(config_path: Path | None) -> None:
    """Encrypt every stored key again with the first master key of own_keys.keys.

    Every running authz must have read that key before: reload them first.
    Afterwards the other master keys can be removed from own_keys.keys.
    """

    async def work() -> None:
        config = config_of_store(config_path)
        ring = _keyring(config)
        master = ring.newest
        async with opened_store(config.identity) as store:
            with told_if_slow("encrypting the stored keys"):
                done, problems = await store.part(OwnKeyStore).rotate(ring.open, master)
        keys = "1 stored key" if done == 1 else f"{done} stored keys"
        click.echo(f"{keys} encrypted again with master key {master.id}.")
        if problems:
            raise ConfigError(problems)

    run_async(work())


def _keyring(config: Config) -> Keyring:
    if config.own_keys is None:
        raise ConfigError(["own_keys: is not set, so users can't store keys (docs/own-keys.md)"])
    return Keyring(config.own_keys.keys)


def _read_key() -> Secret:
    if sys.stdin.isatty():
        return Secret(click.prompt("Provider key", hide_input=True, err=True))
    try:
        return Secret(sys.stdin.readline(MAX_LENGTH + 3))
    except UnicodeDecodeError:
        raise StoreError("the key on standard input is not UTF-8 text") from None
