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
        "authz login --url https://gateway.example.com",
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
@click.option("--device", is_flag=True, help="With --url: approve a code in any browser.")
@click.option("--url", help="Sign in at this gateway with the browser, instead of in the store.")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    help="PEM file with a private CA of the gateway at --url.",
)
@click.option("--no-browser", is_flag=True, help="Print the URL, and open no browser.")
@config_option
@click.pass_context
def login(
    ctx: click.Context,
    user: str | None,
    device: bool,
    url: str | None,
    ca_file: Path | None,
    no_browser: bool,
    config_path: Path | None,
) -> None:
    """Create a session token for a user and store it in a file.

    'authz login token' prints it. Without --url, the command asks for no password: anyone who can
    write to the store can log in as any user. With --url, the person signs in at the gateway with
    the browser of this machine, or with --device with any browser.
    """
    ctx.obj = config_path
    if device and (user is not None or ctx.invoked_subcommand is not None):
        raise click.UsageError("--device asks in the browser who you are: omit --user")
    if device:
        _login_by_device(url, ca_file, config_path)
        return
    if ctx.invoked_subcommand is not None:
        if user is not None or url is not None:
            raise click.UsageError("--user and --url belong to 'authz login' itself: omit them")
        return
    if url is not None:
        if user is not None:
            raise click.UsageError("--user and --url are mutually exclusive")
        run_async(_log_in_at(url, ca_file, identity_of(config_path), opens=not no_browser))
        return
    if ca_file is not None or no_browser:
        raise click.UsageError("--ca-file and --no-browser need --url")

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


async def _log_in_at(url: str, ca_file: Path | None, identity: str, *, opens: bool) -> None:
    # Imported late: the HTTP client takes long to import.
    from authz.cli.browser_login import browser_login, gateway_url

    text = await browser_login(gateway_url(url), ca_file, opens=opens)
    path = session.keep(identity, text.reveal())
    click.echo(f"Logged in; the session is in {path}.", err=True)


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
        raise StoreError(
            "not logged in: run 'authz login --user NAME', or 'authz login --url https://GATEWAY'"
        )
    click.echo(text)
