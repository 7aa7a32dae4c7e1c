"""``authz users``: the people and service accounts of the store."""

import sys
from pathlib import Path

import click

from authz.cli.common import (
    config_of_store,
    config_option,
    identity_of,
    opened_store,
    output_option,
    print_rows,
    run_async,
)
from authz.cli.completion import complete_user
from authz.cli.groups import AliasedGroup, example
from authz.errors import StoreError
from authz.identity import roles
from authz.identity.accounts import User
from authz.identity.passwords import MAX_LENGTH
from authz.identity.store import Store
from authz.identity.store_links import Subject
from authz.secret import Secret

_ROLES = (*roles.STORED, roles.MEMBER)


@click.group(
    cls=AliasedGroup,
    aliases={"ls": "list", "rm": "delete", "remove": "delete"},
    epilog=example("authz users create alice", "authz users list"),
)
def users() -> None:
    """Create, list, suspend and delete users."""


@users.command(
    epilog=example(
        "authz users create alice --email alice@example.com",
        "authz users create nightly-build --service-account",
        "authz users create admin --admin && authz users password admin",
    )
)
@click.argument("name")
@click.option("--email", help="The user's e-mail address.")
@click.option("--service-account", is_flag=True, help="The user is a machine, not a person.")
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    default=roles.MEMBER,
    show_default=True,
    help="The rights of the user in the token API and on the page.",
)
@click.option("--admin", is_flag=True, help="The same as --role owner.")
@config_option
def create(
    name: str,
    email: str | None,
    service_account: bool,
    role: str,
    admin: bool,
    config_path: Path | None,
) -> None:
    """Create the active user NAME, and the store if it does not exist."""

    async def work() -> None:
        async with opened_store(identity_of(config_path), create=True) as store:
            user = await store.create_user(
                name, email, service_account=service_account, role=roles.OWNER if admin else role
            )
            click.echo(f"User {user.username} has been created.")

    run_async(work())


@users.command("list", epilog=example("authz users list", "authz users ls -o json"))
@output_option
@config_option
def list_(output: str, config_path: Path | None) -> None:
    """List all users."""

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            found = await store.list_users()
            rows = [
                {
                    "USERNAME": user.username,
                    "EMAIL": user.email,
                    "STATUS": user.status,
                    "KIND": "service account" if user.is_service_account else "person",
                    "ROLE": ", ".join(user.roles) or roles.MEMBER,
                    "CREATED AT": f"{user.created_at:%Y-%m-%dT%H:%M:%SZ}",
                }
                for user in found
            ]
            print_rows(rows, [user.as_json() for user in found], output, "No users found.")

    run_async(work())


@users.command(epilog=example("authz users suspend alice"))
@click.argument("name", shell_complete=complete_user)
@config_option
def suspend(name: str, config_path: Path | None) -> None:
    """Refuse all tokens of the user NAME until 'authz users activate'."""
    run_async(_set_status(name, "suspended", config_path))


@users.command(epilog=example("authz users activate alice"))
@click.argument("name", shell_complete=complete_user)
@config_option
def activate(name: str, config_path: Path | None) -> None:
    """Accept the tokens of the user NAME again."""
    run_async(_set_status(name, "active", config_path))


@users.command(epilog=example("authz users role alice user-admin"))
@click.argument("name", shell_complete=complete_user)
@click.argument("role", type=click.Choice(_ROLES))
@config_option
def role(name: str, role: str, config_path: Path | None) -> None:
    """Make the user NAME an owner, a user administrator or a member.

    An owner may do everything in the token API and on the page. A user administrator manages all
    users except owners, and the tokens of service accounts.
    """

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            before = await store.get_user(name)
            user = await store.set_role(before, role)
            click.echo(f"User {user.username} now has the role {role}.")
            await _warn_without_owner(store, before)

    run_async(work())


@users.command(
    epilog=example("authz users password alice", "authz users password alice < password.txt")
)
@click.argument("name", shell_complete=complete_user)
@config_option
def password(name: str, config_path: Path | None) -> None:
    """Set the password of the user NAME, read from the terminal or from standard input.

    It ends the user's sessions. Tokens stay valid.
    """

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            user = await store.get_user(name)
            ended = await store.set_password(user, _read_password())
            sessions = "1 session" if ended == 1 else f"{ended} sessions"
            click.echo(f"User {user.username} has a new password; {sessions} ended.")

    run_async(work())


@users.command(
    epilog=example(
        "authz users link alice --issuer https://acme.okta.com --subject 00u1a2b3c4",
        "authz users link alice --list",
    )
)
@click.argument("name", shell_complete=complete_user)
@click.option("--issuer", help="The issuer of the identity provider.")
@click.option("--subject", help="The person's sub claim.")
@click.option("--list", "lists", is_flag=True, help="List who can sign in as NAME.")
@config_option
def link(
    name: str, issuer: str | None, subject: str | None, lists: bool, config_path: Path | None
) -> None:
    """Let a person of an identity provider sign in as the existing user NAME."""
    if lists == (issuer is not None and subject is not None):
        raise click.UsageError("use --issuer and --subject together, or --list")

    async def work() -> None:
        config = config_of_store(config_path)
        async with opened_store(config.identity) as store:
            user = await store.get_user(name)
            if issuer is None or subject is None:
                for one in await store.links_of(user):
                    click.echo(f"{one.subject.issuer} {one.subject.id}")
                return
            known = [one.issuer for one in config.sign_in.oidc]
            if issuer not in known:
                listed = ", ".join(known) or "none"
                raise StoreError(f"--issuer is not one of sign_in.oidc ({listed})")
            await store.link_user(user, Subject(issuer, subject))
            click.echo(f"User {user.username} can sign in with {issuer}.")

    run_async(work())


@users.command(epilog=example("authz users unlink alice"))
@click.argument("name", shell_complete=complete_user)
@click.option("--issuer", help="Remove the links to this issuer only.")
@config_option
def unlink(name: str, issuer: str | None, config_path: Path | None) -> None:
    """Let no person of an identity provider sign in as NAME, and end the sessions of those."""

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            user = await store.get_user(name)
            gone = await store.unlink_user(user, issuer)
            links = "1 link" if gone == 1 else f"{gone} links"
            click.echo(f"{links} of {user.username} removed.")

    run_async(work())


@users.command(epilog=example("authz users delete alice"))
@click.argument("name", shell_complete=complete_user)
@config_option
def delete(name: str, config_path: Path | None) -> None:
    """Delete the user NAME and all their tokens, at once and without confirmation."""

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            user = await store.get_user(name)
            gone = await store.delete_user(user)
            tokens = "1 valid token" if gone == 1 else f"{gone} valid tokens"
            click.echo(f"User {user.username} has been deleted, with {tokens}.")
            await _warn_without_owner(store, user)

    run_async(work())


def _read_password() -> Secret:
    if sys.stdin.isatty():
        text = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return Secret(text)
    try:
        text = sys.stdin.readline(MAX_LENGTH + 2)
    except UnicodeDecodeError:
        raise StoreError("the password on standard input is not UTF-8 text") from None
    return Secret(text.removesuffix("\n").removesuffix("\r"))


async def _set_status(name: str, status: str, config_path: Path | None) -> None:
    async with opened_store(identity_of(config_path)) as store:
        before = await store.get_user(name)
        user = await store.set_status(before, status)
        click.echo(f"User {user.username} is {user.status}.")
        await _warn_without_owner(store, before)


async def _warn_without_owner(store: Store, changed: User) -> None:
    """Warn if the change removed the last active owner, which the page refuses to do."""
    if not roles.is_owner(changed):
        return
    left = (user for user in await store.list_users() if user.status == "active")
    if not any(map(roles.is_owner, left)):
        click.echo(
            "No active owner is left: create one with 'authz users role NAME owner'.", err=True
        )
