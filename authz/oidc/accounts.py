"""Find or create the user of a person whom an OpenID provider proved."""

import shlex

import structlog

from authz.config.oidc import OidcIssuer
from authz.identity import roles
from authz.identity.accounts import User
from authz.identity.audit import Actor
from authz.identity.groups import GroupRefused
from authz.identity.store import Store
from authz.identity.store_links import AddressTaken, Subject
from authz.oidc.profile import Profile, ProfileRefused, check_allowed, role_of
from authz.web.sign_in import SUSPENDED

_log = structlog.get_logger(__name__)


async def user_of(store: Store, settings: OidcIssuer, profile: Profile, peer: str) -> User:
    """Return the user of a person, with the groups and the role that the provider gives them.

    Args:
        store: with any actor.
        settings: the OpenID provider.
        profile: the person.
        peer: the address of the client, for the audit log.

    Raises:
        ProfileRefused: the person may not sign in.
        StoreError: the store can't be used.
    """
    subject = Subject(settings.issuer, profile.subject)
    anonymous = store.acting(Actor("nobody", ip=peer))
    user = await store.find_linked(subject)
    try:
        check_allowed(profile, settings)
        _check_active(user)
    except ProfileRefused:
        await anonymous.note_failed_sign_in(user, "not allowed")
        raise
    acting = store.acting(Actor("nobody", f"sign-in with {settings.name}", ip=peer))
    role = role_of(profile, settings)
    if user is None:
        user = await _create(acting, subject, profile, role or roles.MEMBER)
        _check_active(user)
    else:
        user = await acting.update_linked(
            user, subject, email=profile.email, full_name=profile.name, role=role
        )
    try:
        await acting.sync_groups(user, settings.issuer, profile.groups)
    except GroupRefused as error:
        await anonymous.note_failed_sign_in(user, "groups")
        raise ProfileRefused(f"You can't sign in: {error}.") from None
    return user


def _check_active(user: User | None) -> None:
    if user is not None and user.status == "suspended":
        raise ProfileRefused(SUSPENDED)


async def _create(store: Store, subject: Subject, profile: Profile, role: str) -> User:
    try:
        return await store.create_linked(
            subject,
            profile.username,
            email=profile.email,
            full_name=profile.name,
            role=role,
        )
    except AddressTaken as error:
        ending = f"--issuer {shlex.quote(subject.issuer)} --subject {shlex.quote(subject.id)}"
        command = f"authz users link {error.username} {ending}"
        _log.warning("sign-in: e-mail address of another user", cure=command)
        await store.note_failed_sign_in(None, "e-mail address taken")
        # The name belongs to the owner of the address, so only a verified address gets it.
        shown = command if profile.email_verified else f"authz users link NAME {ending}"
        raise ProfileRefused(
            "Another user of this gateway has your e-mail address. If that is you, an "
            f"administrator runs: {shown}"
        ) from None
