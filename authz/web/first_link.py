"""The one-time link with which the first administrator of a pair chooses a password.

``authz up`` makes it and ``authz serve``, its child, takes it; what lies between them is a file in
the pair's state folder that has the code's hash and its end.
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
    """Return where a pair keeps it; the port keeps two pairs in one folder apart."""
    return config.state_folder / f"first-administrator-{config.listen.port}.json"


def is_needed(users: list[User]) -> bool:
    """Say whether nobody can sign in yet who may give others a password."""
    return not any(
        is_owner(user) and user.has_password and user.status != "suspended" for user in users
    )


def make_code(config: Config) -> Secret:
    """Make a code; one that was made before ends.

    Raises:
        OSError: the state folder can't be written to.
    """
    code = secrets.token_urlsafe(32)
    values = {
        "sha256": _hash(code),
        "until": time.time() + LIFETIME_SECONDS,
        # A demo's code must not open the store of a pair that starts in the same folder after it.
        "store": _store(config),
    }
    write_whole(link_file(config), json.dumps(values), 0o600)
    return Secret(code)


def is_valid(config: Config, code: Secret) -> bool:
    """Say whether a code is the one that was made last, and neither old nor taken."""
    try:
        values = json.loads(link_file(config).read_text(encoding="utf-8"))
        hashed, until, store = str(values["sha256"]), float(values["until"]), values["store"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if store != _store(config):
        return False
    return time.time() < until and hmac.compare_digest(hashed, _hash(code.reveal()))


def take(config: Config, code: Secret) -> bool:
    """Use a code up; True once, also when several processes try at the same time."""
    if not is_valid(config, code):
        return False
    try:
        link_file(config).unlink()
    except OSError:
        return False
    return True


def forget(config: Config) -> None:
    """Make whatever code there is useless."""
    link_file(config).unlink(missing_ok=True)


def _store(config: Config) -> str:
    # A hash, since the URL may hold a password.
    return hashlib.sha256(config.identity.encode()).hexdigest()


def _hash(code: str) -> str:
    # Not argon2: 256 random bits can't be guessed.
    return hashlib.sha256(code[:_LENGTH].encode("utf-8", "surrogatepass")).hexdigest()
