"""``authz tokens``: the tokens of the store, with the options of ``coder tokens``."""

from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

import click

from authz import lifetimes
from authz.cli.common import (
    choose_user,
    config_of_store,
    config_option,
    identity_of,
    opened_store,
    output_option,
    print_rows,
    run_async,
)
from authz.cli.completion import complete_provider, complete_token, complete_user
from authz.cli.groups import AliasedGroup, example
from authz.cli.token_parameters import COLUMNS, Columns, Lifetime, Overlap
from authz.config.settings import Config
from authz.core.rules import MODES, make_rules
from authz.errors import StoreError
from authz.identity.accounts import ApiKey


@click.group(
    cls=AliasedGroup,
    aliases={"ls": "list", "rm": "remove", "delete": "remove"},
    epilog=example("authz tokens create -n laptop --lifetime 30d", "authz tokens list"),
)
def tokens() -> None:
    """Create, list, rotate and remove tokens."""


@tokens.command(
    epilog=example(
        "authz tokens create -n laptop --lifetime 30d",
        'export ANTHROPIC_AUTH_TOKEN="$(authz tokens create --user alice)"',
        "authz tokens create -n ci --provider anthropic --mode centralized",
    )
)
@click.option(
    "-n",
    "--name",
    envvar="CODER_TOKEN_NAME",
    show_envvar=True,
    help="The name of the token. Default: two random words.",
)
@click.option(
    "--lifetime",
    type=Lifetime(),
    default=lifetimes.DEFAULT,
    envvar="CODER_TOKEN_LIFETIME",
    show_envvar=True,
    help=f"Lifetime, such as 8h, 30d or 1y. Default: {lifetimes.DEFAULT.days}d.",
)
@click.option(
    "-u",
    "--user",
    envvar="CODER_TOKEN_USER",
    show_envvar=True,
    shell_complete=complete_user,
    help="The owner of the token. Default: the user of 'authz login', else the only user.",
)
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_provider,
    help="Limit the token to this provider; repeat it for more providers.",
)
@click.option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice(list(MODES)),
    help="Limit the token to the company's keys (centralized) or to the user's own (byok).",
)
@config_option
def create(
    name: str | None,
    lifetime: timedelta,
    user: str | None,
    providers: tuple[str, ...],
    modes: tuple[str, ...],
    config_path: Path | None,
) -> None:
    """Create a token and print it once; it can't be shown again."""
    config = config_of_store(config_path)
    try:
        rules = make_rules(providers, modes, config.provider_names)
    except ValueError as error:
        raise click.UsageError(str(error)) from None

    async def work() -> None:
        most = config.tokens.max_per_user
        async with opened_store(config.identity, max_tokens=most) as store:
            owner = await choose_user(store, config.identity, user)
            text, _ = await store.create_token(owner, name, lifetime, rules)
            click.echo(text)

    run_async(work())


@tokens.command(
    "list",
    epilog=example(
        "authz tokens list",
        "authz tokens list -c id,name,'last used'",
        "authz tokens ls --all --include-expired -o json",
    ),
)
@click.option("-a", "--all", "everybody", is_flag=True, help="List the tokens of all users.")
@click.option(
    "-u",
    "--user",
    shell_complete=complete_user,
    help="List the tokens of this user. Default: as for 'create'.",
)
@click.option("--include-expired", is_flag=True, help="List expired tokens too.")
@click.option(
    "-c",
    "--column",
    "columns",
    type=Columns(),
    multiple=True,
    metavar="NAMES",
    help=f"Columns of the table, separated by commas: {', '.join(COLUMNS)}. Default: all, the "
    "owner only with --all.",
)
@output_option
@config_option
def list_(
    everybody: bool,
    user: str | None,
    include_expired: bool,
    columns: tuple[tuple[str, ...], ...],
    output: str,
    config_path: Path | None,
) -> None:
    """List tokens, without their secrets."""
    if everybody and user is not None:
        raise click.UsageError("--all and --user are mutually exclusive")

    async def work() -> None:
        config = config_of_store(config_path)
        async with opened_store(config.identity) as store:
            owner = None if everybody else await choose_user(store, config.identity, user)
            listed = await store.list_tokens(owner, include_expired=include_expired)
            found = await _with_last_uses(config, listed)
            objects = [{**key.as_json(), "username": key.username} for key in found]
            default = COLUMNS if everybody else COLUMNS[:-1]
            shown = {name for names in columns for name in names} or set(default)
            rows = [_row(key, shown) for key in found]
            print_rows(rows, objects, output, "No tokens found.")

    run_async(work())


@tokens.command(
    epilog=example("authz tokens rotate laptop", "authz tokens rotate ci --user ci --overlap 1d")
)
@click.argument("token", metavar="NAME|ID", shell_complete=complete_token)
@click.option(
    "--overlap",
    type=Overlap(),
    default=lifetimes.OVERLAP,
    help="How long the old token works beside the new one, such as 0s, 1h or 1d. Default: 1h.",
)
@click.option(
    "-u",
    "--user",
    shell_complete=complete_user,
    help="The owner of the token. Default: any user, if the name exists once.",
)
@config_option
def rotate(token: str, overlap: timedelta, user: str | None, config_path: Path | None) -> None:
    """Replace a token by a new one and print that once.

    The new token has the name, limits and lifetime of the old one.
    The old one gets another name and ends after the overlap.
    """
    config = config_of_store(config_path)

    async def work() -> None:
        most = config.tokens.max_per_user
        async with opened_store(config.identity, max_tokens=most) as store:
            owner = None if user is None else await store.get_user(user)
            key = await store.find_token(token, owner)
            if key is None:
                raise StoreError("no such token: 'authz tokens list --all' shows names and ids")
            text, _ = await store.rotate_token(
                owner or await store.get_user(key.username), key, overlap
            )
            click.echo(text)

    run_async(work())


@tokens.command(epilog=example("authz tokens remove laptop", "authz tokens rm --delete laptop"))
@click.argument("token", metavar="NAME|ID|TOKEN", shell_complete=complete_token)
@click.option("--delete", is_flag=True, help="Delete the record too, which frees the name.")
@click.option(
    "-u",
    "--user",
    shell_complete=complete_user,
    help="The owner of the token. Default: any user, if the name exists once.",
)
@config_option
def remove(token: str, delete: bool, user: str | None, config_path: Path | None) -> None:
    """Revoke a token at once.

    Its record stays for the audit log, unless --delete is given.
    """

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            owner = None if user is None else await store.get_user(user)
            key = await store.find_token(token, owner)
            if key is None:
                # The message does not quote the argument, which may be a token.
                raise StoreError("no such token: 'authz tokens list --all' shows names and ids")
            if delete:
                await store.delete_token(key)
                click.echo("Token has been deleted.")
            else:
                await store.expire_token(key)
                click.echo("Token has been expired.")

    run_async(work())


async def _with_last_uses(config: Config, keys: list[ApiKey]) -> list[ApiKey]:
    """Return the same tokens with their last uses, as far as requests are recorded."""
    from authz.usage.last_uses import with_last_uses
    from authz.usage.service import database_url, open_usage_store

    if not keys or not config.usage.enabled or database_url(config) is None:
        return keys
    try:
        rows = await open_usage_store(config)
        try:
            return await with_last_uses(rows, keys)
        finally:
            await rows.close()
    except StoreError as error:
        click.echo(f"The last uses of tokens are not known: {error}", err=True)
        return keys


def _row(key: ApiKey, shown: Collection[str]) -> dict[str, str]:
    values = (
        key.id,
        key.token_name,
        ", ".join(key.scopes),
        ", ".join(key.allow_list),
        _shown(key.last_used),
        _shown(key.expires_at),
        _shown(key.created_at),
        str(key.rules),
        key.username,
    )
    named = zip(COLUMNS, values, strict=True)
    return {name.upper(): value for name, value in named if name in shown}


def _shown(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
