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
        "authz login --url https://gateway.example.com",
        "authz login token",
    ),
)
@click.option(
    "-u",
    "--user",
    shell_complete=complete_user,
    help="The user to log in. Default: the user of the session, else the only user.",
)
@click.option("--url", help="Sign in at this gateway with the browser, instead of in the store.")
@click.option(
    "--device", is_flag=True, help="With --url: approve a code in a browser of any machine."
)
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
    url: str | None,
    device: bool,
    ca_file: Path | None,
    no_browser: bool,
    config_path: Path | None,
) -> None:
    """Create a session token for a user and store it in a file.

    'authz login token' prints it. Without --url, the command asks for no password: anyone who can
    write to the store can log in as any user. With --url, the person signs in at the gateway with
    the browser of this machine, or with --device with a browser of any machine.
    """
    ctx.obj = config_path
    if ctx.invoked_subcommand is not None:
        if user is not None or url is not None:
            raise click.UsageError("--user and --url belong to 'authz login' itself: omit them")
        return
    if url is not None:
        if user is not None:
            raise click.UsageError("--user and --url are mutually exclusive")
        identity = identity_of(config_path)
        run_async(_log_in_at(url, ca_file, identity, opens=not no_browser, device=device))
        return
    if ca_file is not None or no_browser or device:
        raise click.UsageError("--device, --ca-file and --no-browser need --url")

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


async def _log_in_at(
    url: str, ca_file: Path | None, identity: str, *, opens: bool, device: bool
) -> None:
    # Imported late: the HTTP client takes long to import.
    if device:
        from authz.cli.device_login import sign_in

        text = await sign_in(url, ca_file)
    else:
        from authz.cli.browser_login import browser_login, gateway_url

        text = (await browser_login(gateway_url(url), ca_file, opens=opens)).reveal()
    path = session.keep(identity, text)
    click.echo(f"Logged in; the session is in {path}.", err=True)


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
