"""``authz groups``: groups of users, their members, and the rules that limit the members."""

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
from authz.cli.completion import complete_group, complete_provider, complete_user
from authz.cli.groups import AliasedGroup, example
from authz.core.rules import MODES, NO_RULES, TokenRules, make_rules
from authz.identity.groups import LOCAL, GroupRecord

_REFERENCE = "GROUP"


@click.group(
    cls=AliasedGroup,
    aliases={"ls": "list", "rm": "delete"},
    epilog=example(
        "authz groups create research",
        "authz groups add research alice bob",
        "authz groups rules research --provider anthropic",
    ),
)
def groups() -> None:
    """Create, list and change groups of users, and their rules.

    GROUP is the name of a group or its id. A local group comes before one of an identity provider.
    """


@groups.command("list", epilog=example("authz groups list", "authz groups list --user alice"))
@click.option(
    "-u", "--user", shell_complete=complete_user, help="List the groups of this user only."
)
@output_option
@config_option
def list_(user: str | None, output: str, config_path: Path | None) -> None:
    """List groups with their rules."""

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            if user is None:
                found = await store.list_groups()
            else:
                found = await store.groups_of(await store.get_user(user))
            rows = [
                {
                    "NAME": group.name,
                    "DISPLAY NAME": group.display_name,
                    "SOURCE": group.source or "local",
                    "MEMBERS": f"{group.member_count:,}",
                    "LIMITED TO": str(group.rules) or "-",
                    "ID": group.id,
                }
                for group in found
            ]
            print_rows(rows, [group.as_json() for group in found], output, "No groups found.")

    run_async(work())


@groups.command(
    epilog=example(
        "authz groups create research --display-name 'Research and labs'",
        "authz groups create staff --source https://idp.example.com",
    )
)
@click.argument("name")
@click.option("--display-name", default="", help="The name for people.")
@click.option(
    "--source",
    default=LOCAL,
    metavar="ISSUER",
    help="The issuer's URL of the identity provider that chooses the members. "
    "Default: a local group, whose members you choose.",
)
@config_option
def create(name: str, display_name: str, source: str, config_path: Path | None) -> None:
    """Create the group NAME, without members and rules.

    Sign-ins create the groups of an identity provider. With --source such a group can have rules
    before the first member signs in.
    """

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            group = await store.create_group(name, display_name, source=source)
            click.echo(f"Group {group.name} has been created.")

    run_async(work())


@groups.command(epilog=example("authz groups delete research"))
@click.argument("group", metavar=_REFERENCE, shell_complete=complete_group)
@config_option
def delete(group: str, config_path: Path | None) -> None:
    """Delete a group at once and without confirmation; its users stay.

    Its rules do not limit them any more. The next sign-in creates a group of an identity provider
    again, without rules.
    """

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            found = await store.get_group(group)
            count = await store.delete_group(found)
            click.echo(f"Group {found.name} has been deleted, with {_members(count)}.")

    run_async(work())


@groups.command(epilog=example("authz groups edit research --name labs --display-name Labs"))
@click.argument("group", metavar=_REFERENCE, shell_complete=complete_group)
@click.option("--name", help="The new name.")
@click.option("--display-name", help="The new name for people; '' removes it.")
@config_option
def edit(group: str, name: str | None, display_name: str | None, config_path: Path | None) -> None:
    """Change the name or the display name of a group."""
    if name is None and display_name is None:
        raise click.UsageError("give --name or --display-name")

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            found = await store.get_group(group)
            changed = await store.change_group(found, name=name, display_name=display_name)
            click.echo(f"Group {changed.name} has been changed.")

    run_async(work())


@groups.command(epilog=example("authz groups add research alice bob"))
@click.argument("group", metavar=_REFERENCE, shell_complete=complete_group)
@click.argument("users", nargs=-1, required=True, metavar="USER…", shell_complete=complete_user)
@config_option
def add(group: str, users: tuple[str, ...], config_path: Path | None) -> None:
    """Add users to a local group, effective with their next request."""
    run_async(_move(group, users, config_path, adds=True))


@groups.command(epilog=example("authz groups remove research alice"))
@click.argument("group", metavar=_REFERENCE, shell_complete=complete_group)
@click.argument("users", nargs=-1, required=True, metavar="USER…", shell_complete=complete_user)
@config_option
def remove(group: str, users: tuple[str, ...], config_path: Path | None) -> None:
    """Remove users from a local group, effective with their next request."""
    run_async(_move(group, users, config_path, adds=False))


@groups.command(epilog=example("authz groups members research"))
@click.argument("group", metavar=_REFERENCE, shell_complete=complete_group)
@output_option
@config_option
def members(group: str, output: str, config_path: Path | None) -> None:
    """List the members of a group."""

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            found = await store.members_of(await store.get_group(group))
            rows = [
                {"USERNAME": user.username, "EMAIL": user.email, "STATUS": user.status}
                for user in found
            ]
            print_rows(rows, [user.as_json() for user in found], output, "No members found.")

    run_async(work())


@groups.command(
    epilog=example(
        "authz groups rules research",
        "authz groups rules research --provider anthropic --provider openai",
        "authz groups rules research --mode byok",
        "authz groups rules research --none",
    )
)
@click.argument("group", metavar=_REFERENCE, shell_complete=complete_group)
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_provider,
    help="Limit the members to this provider; repeat it for more providers.",
)
@click.option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice(list(MODES)),
    help="Limit the members to the company's keys (centralized) or to their own (byok).",
)
@click.option("--none", "removes", is_flag=True, help="Remove the rules.")
@config_option
def rules(
    group: str,
    providers: tuple[str, ...],
    modes: tuple[str, ...],
    removes: bool,
    config_path: Path | None,
) -> None:
    """Replace the rules of a group, effective with the next request; or show them.

    The rules limit the members in addition to the rules of their tokens. A user in several groups
    with rules may do what any of these groups allows.
    """
    if removes and (providers or modes):
        raise click.UsageError("--none and --provider or --mode are mutually exclusive")
    config = config_of_store(config_path)
    try:
        given = make_rules(providers, modes, config.provider_names)
    except ValueError as error:
        raise click.UsageError(str(error)) from None

    async def work() -> None:
        async with opened_store(config.identity) as store:
            found = await store.get_group(group)
            if given != NO_RULES or removes:
                found = await store.change_group(found, rules=given)
            click.echo(_described(found, found.rules))

    run_async(work())


async def _move(
    group: str, users: tuple[str, ...], config_path: Path | None, *, adds: bool
) -> None:
    async with opened_store(identity_of(config_path)) as store:
        found = await store.get_group(group)
        moved = [await store.get_user(name) for name in users]
        if adds:
            count = await store.add_members(found, moved)
            click.echo(f"{_members(count)} added to group {found.name}.")
        else:
            count = await store.remove_members(found, moved)
            click.echo(f"{_members(count)} removed from group {found.name}.")


def _members(count: int) -> str:
    return "1 member" if count == 1 else f"{count:,} members"


def _described(group: GroupRecord, limits: TokenRules) -> str:
    if limits == NO_RULES:
        return f"Group {group.name} has no rules."
    return f"Group {group.name} is limited to {limits}."
