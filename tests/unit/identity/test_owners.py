"""authz.identity.owners: the owners of a request, as an identity and the database name them."""

from authz.core.groups import Group
from authz.core.identity import Identity
from authz.identity.owners import Owner, OwnerKind, owner_key, owners_of


def test_an_identity_has_its_user_token_and_groups() -> None:
    """A group of the database and of an identity is the same owner, also with odd names."""
    group = Group("a b")
    identity = Identity("u-1", "alice", "", "k-1", "ci", None, memberships=(group,))
    assert owners_of(identity) == (
        Owner(OwnerKind.USER, "u-1"),
        Owner(OwnerKind.TOKEN, "k-1"),
        owner_key(OwnerKind.GROUP, "g-1", group.name),
    )
    assert owner_key(OwnerKind.USER, "u-1", "alice") == Owner(OwnerKind.USER, "u-1")
