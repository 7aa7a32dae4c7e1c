"""The secrets of a first start, shown on a terminal and kept in files elsewhere."""

from dataclasses import dataclass
from pathlib import Path

from authz.clients.rendering import base_url
from authz.config.settings import Config
from authz.files import write_whole
from authz.secret import Secret
from authz.up.first_start import FirstToken


@dataclass(frozen=True, slots=True)
class FirstSecrets:
    """What the first start has made.

    Attributes:
        token: of the first user; None where there is one already, or it is not ours to make.
        code: of the one-time link for the first administrator; None where none is needed.
        token_file: where the token was written instead of being shown.
        link_file: where the link was written instead of being shown.
    """

    token: FirstToken | None = None
    code: Secret | None = None
    token_file: Path | None = None
    link_file: Path | None = None


def first_link(config: Config, code: Secret) -> str:
    """Return the one-time link; it holds the code, so it is a secret."""
    # Behind '#', which browsers send to nobody: it is in no log.
    return f"{base_url(config)}/ui/first-administrator#{code.reveal()}"


def keep(config: Config, token: FirstToken | None, code: Secret | None) -> FirstSecrets:
    """Write the secrets to files of mode 0600, for a standard output that may be a log.

    A file of an earlier start goes where its secret is over.

    Raises:
        OSError: the state folder can't be written to.
    """
    folder = config.state_folder.absolute()
    token_file = folder / f"first-token-{config.listen.port}"
    link_file = folder / f"first-administrator-link-{config.listen.port}"
    if token is not None:
        write_whole(token_file, f"{token.token.reveal()}\n", 0o600)
    link_file.unlink(missing_ok=True)
    if code is not None:
        write_whole(link_file, f"{first_link(config, code)}\n", 0o600)
    return FirstSecrets(token, code, token_file if token else None, link_file if code else None)
