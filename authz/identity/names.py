"""What users and tokens may be called, and names for tokens that were given none."""

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
    """Say what is wrong with a user name, by Coder's rule; None when nothing is.

    The text does not quote the name: people paste tokens in wrong places.
    """
    if name == "me":
        return "'me' stands for oneself in Coder's API and can't be a user's name"
    if len(name) > _USER_LENGTH or _USER.fullmatch(name) is None:
        return (
            f"a user name is at most {_USER_LENGTH} letters and digits, single hyphens between them"
        )
    return None


def check_token_name(name: str) -> str | None:
    """Say what is wrong with a token name; None when nothing is. It does not quote the name."""
    if has_token_shape(name):
        return "this name has the form of a token: a name is no secret, choose another"
    if not 0 < len(name) <= _TOKEN_LENGTH or not name.isprintable() or name != name.strip():
        return f"a token name has 1 to {_TOKEN_LENGTH} printable characters"
    return None


def check_email(email: str) -> str | None:
    """Say what is wrong with an e-mail address; None when nothing is.

    It may go into a header, so it is visible ASCII.
    """
    if len(email) > _EMAIL_LENGTH or _EMAIL.fullmatch(email) is None:
        return "an e-mail address is written like name@example.com, in ASCII"
    return None


def check_full_name(name: str) -> str | None:
    """Say what is wrong with a person's full name; None when nothing is. It may be empty."""
    if len(name) > _FULL_NAME_LENGTH or not name.isprintable() or name != name.strip():
        return f"a full name has at most {_FULL_NAME_LENGTH} printable characters"
    return None


def invent_token_name() -> str:
    """Make a name of two random words, as Coder does for a token without one."""
    return f"{secrets.choice(_FIRST.split())}-{secrets.choice(_SECOND.split())}"
