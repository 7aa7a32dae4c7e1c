"""Create and redeem the one-time link that sets the first administrator's password.

``authz up`` creates the link, and its child ``authz serve`` redeems it. They share a file in the
state folder, which has the code's hash and its expiry.
"""

import hashlib
import hmac
import json
import secrets
import time
from pathlib import Path

from authz.config.settings import Config
from authz.files import write_whole
from authz.identity.accounts import User
from authz.identity.roles import is_owner
from authz.secret import Secret

LIFETIME_SECONDS = 900
_LENGTH = 64


def link_file(config: Config) -> Path:
    """Return the file with the hash. Its name has the port, so that pairs may share a folder."""
    return config.state_folder / f"first-administrator-{config.listen.port}.json"


def is_needed(users: list[User]) -> bool:
    """Return whether no user can sign in yet who may set the passwords of others."""
    return not any(
        is_owner(user) and user.has_password and user.status != "suspended" for user in users
    )


def make_code(config: Config) -> Secret:
    """Create a code, which replaces any earlier one.

    Raises:
        OSError: the state folder can't be written to.
    """
    code = secrets.token_urlsafe(32)
    values = {
        "sha256": _hash(code),
        "until": time.time() + LIFETIME_SECONDS,
        # A demo's code must not be valid for a pair that later starts in the same folder.
        "store": _store(config),
    }
    write_whole(link_file(config), json.dumps(values), 0o600)
    return Secret(code)


def is_valid(config: Config, code: Secret) -> bool:
    """Return whether a code is the latest one, and neither expired nor used."""
    try:
        values = json.loads(link_file(config).read_text(encoding="utf-8"))
        hashed, until, store = str(values["sha256"]), float(values["until"]), values["store"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if store != _store(config):
        return False
    return time.time() < until and hmac.compare_digest(hashed, _hash(code.reveal()))


def take(config: Config, code: Secret) -> bool:
    """Use a code. Return True only once, even if several processes try at the same time."""
    if not is_valid(config, code):
        return False
    try:
        link_file(config).unlink()
    except OSError:
        return False
    return True


def forget(config: Config) -> None:
    """Invalidate the current code, if there is one."""
    link_file(config).unlink(missing_ok=True)


def _store(config: Config) -> str:
    # A hash, because the URL may contain a password.
    return hashlib.sha256(config.identity.encode()).hexdigest()


def _hash(code: str) -> str:
    # SHA-256 is enough: the code has 256 random bits.
    return hashlib.sha256(code[:_LENGTH].encode("utf-8", "surrogatepass")).hexdigest()
