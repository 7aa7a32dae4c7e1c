"""``authz login``: a session token, stored in a file and printed on demand."""

from pathlib import Path

import click

from authz.cli import session
from authz.cli.common import (
    choose_user,
    config_option,
    identity_of,
    only_person,
    opened_store,
    run_async,
)
from authz.cli.completion import complete_user
from authz.cli.groups import AliasedGroup, example
from authz.errors import StoreError
from authz.identity.accounts import User
from authz.identity.store import Store


@click.group(
    cls=AliasedGroup,
    invoke_without_command=True,
    epilog=example(
        "authz login --user alice",
        "authz login --device --url https://gateway.example.com",
        "authz login token",
    ),
)
@click.option(
    "-u",
    "--user",
    shell_complete=complete_user,
    help="The user to log in. Default: the user of the session, else the only user.",
)
@click.option("--device", is_flag=True, help="Sign in at a gateway: approve a code in any browser.")
@click.option("--url", metavar="URL", help="With --device: URL of the gateway.")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --device: PEM file with a private CA of the gateway.",
)
@config_option
@click.pass_context
def login(
    ctx: click.Context,
    user: str | None,
    device: bool,
    url: str | None,
    ca_file: Path | None,
    config_path: Path | None,
) -> None:
    """Create a session token for a user and store it in a file.

    'authz login token' prints it. Without --device the command asks for no password: anyone who can
    write to the store can log in as any user.
    """
    ctx.obj = config_path
    if device:
        if user is not None or ctx.invoked_subcommand is not None:
            raise click.UsageError("--device asks in the browser who you are: omit --user")
        _login_by_device(url, ca_file, config_path)
        return
    if url is not None or ca_file is not None:
        raise click.UsageError("--url and --ca-file need --device")
    if ctx.invoked_subcommand is not None:
        if user is not None:
            raise click.UsageError("--user belongs to 'authz login' itself: omit it here")
        return

    async def work() -> None:
        identity = identity_of(config_path)
        async with opened_store(identity) as store:
            owner = await _user_to_log_in(store, identity, user)
            text, key = await store.create_session(owner)
            path = session.keep(identity, text)
            click.echo(
                f"Logged in as {owner.username} until {key.expires_at:%Y-%m-%dT%H:%M:%SZ}; "
                f"the session is in {path}.",
                err=True,
            )

    run_async(work())


def _login_by_device(url: str | None, ca_file: Path | None, config_path: Path | None) -> None:
    if url is None:
        raise click.UsageError("--device needs --url: the URL of the gateway")
    # Imported late: the HTTP client takes a fifth of a second.
    from authz.cli.device_login import sign_in

    async def work() -> None:
        text = await sign_in(url, ca_file)
        path = session.keep(identity_of(config_path), text)
        click.echo(f"Logged in; the session is in {path}.", err=True)

    run_async(work())


async def _user_to_log_in(store: Store, identity: str, name: str | None) -> User:
    """Return the user who logs in. A login replaces a session that has ended."""
    if name is None:
        try:
            return await choose_user(store, identity, None)
        except StoreError:
            return await only_person(store)
    return await store.get_user(name)


@login.command(epilog=example('curl -H "Authorization: Bearer $(authz login token)" …'))
@config_option
@click.pass_obj
def token(group_config_path: Path | None, config_path: Path | None) -> None:
    """Print the current session token. $CODER_SESSION_TOKEN overrides the stored one."""
    text = session.current_token(identity_of(config_path or group_config_path))
    if text is None:
        raise StoreError("not logged in: run 'authz login --user NAME'")
    click.echo(text)
