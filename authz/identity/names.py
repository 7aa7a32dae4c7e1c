"""Rules for names of users and tokens, and random names for tokens."""

import re
import secrets

from authz.core.tokens import has_token_shape

_USER = re.compile(r"[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*")
_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")
_USER_LENGTH, _TOKEN_LENGTH, _EMAIL_LENGTH, _FULL_NAME_LENGTH = 32, 64, 254, 128

_FIRST = (
    "able amber bold brave brisk calm clever cosmic crisp eager early fair fancy fast fine "
    "fond frank fresh gentle glad golden grand happy honest humble jolly keen kind lively "
    "loyal lucky mellow merry mighty modest neat nimble noble patient plain polite prime "
    "proud quick quiet rapid ready sharp shiny silent silver smart smooth snappy solid steady "
    "sunny swift tidy tough vivid warm wise witty young "
)
_SECOND = (
    "acorn anchor badger beacon beaver birch brook canyon cedar cliff comet condor coral "
    "crane creek dolphin eagle ember falcon fern finch fjord forest fox garnet gecko glacier "
    "harbor hawk heron island jaguar juniper kestrel lagoon lark lynx maple marmot meadow "
    "mesa moose nebula oak orchid osprey otter panda pebble pine plover quartz raven reef "
    "river robin salmon sequoia sparrow spruce summit thistle tiger walnut willow "
)


def check_user_name(name: str) -> str | None:
    """Return the problem with a user name by Coder's rule, or None.

    The text does not quote the name, which may be a token that was pasted by mistake.
    """
    if name == "me":
        return "'me' means the caller in Coder's API: choose another user name"
    if len(name) > _USER_LENGTH or _USER.fullmatch(name) is None:
        return (
            f"a user name has at most {_USER_LENGTH} letters and digits, with single hyphens inside"
        )
    return None


def check_token_name(name: str) -> str | None:
    """Return the problem with a token name, or None. The text does not quote the name."""
    if has_token_shape(name):
        return "this name looks like a token, but names are not secret: choose another one"
    if not 0 < len(name) <= _TOKEN_LENGTH or not name.isprintable() or name != name.strip():
        return f"a token name has 1 to {_TOKEN_LENGTH} printable characters"
    return None


def check_email(email: str) -> str | None:
    """Return the problem with an e-mail address, or None.

    The address may be sent in a header, so it has to be visible ASCII.
    """
    if len(email) > _EMAIL_LENGTH or _EMAIL.fullmatch(email) is None:
        return "an e-mail address must look like name@example.com, in ASCII"
    return None


def check_full_name(name: str) -> str | None:
    """Return the problem with a person's full name, or None. The name may be empty."""
    if len(name) > _FULL_NAME_LENGTH or not name.isprintable() or name != name.strip():
        return f"a full name has at most {_FULL_NAME_LENGTH} printable characters"
    return None


def invent_token_name() -> str:
    """Return a name of two random words, as Coder does for a token without a name."""
    return f"{secrets.choice(_FIRST.split())}-{secrets.choice(_SECOND.split())}"


def rotated_name(name: str, key_id: str) -> str:
    """Return the name of a token after its rotation, which frees its own name for the new one."""
    suffix = f"-old-{key_id}"
    return name[: _TOKEN_LENGTH - len(suffix)] + suffix
