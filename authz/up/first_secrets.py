"""Hold the secrets of a first start, and write them to files where the output is no terminal."""

from dataclasses import dataclass
from pathlib import Path

from authz.clients.rendering import base_url
from authz.config.settings import Config
from authz.files import write_whole
from authz.secret import Secret
from authz.up.first_start import FirstToken


@dataclass(frozen=True, slots=True)
class FirstSecrets:
    """The secrets that a first start creates.

    Attributes:
        token: the first user's token; None if one exists, or if another system manages tokens.
        code: the code of the first administrator's one-time link; None if there is no need for it.
        token_file: the file with the token; None if the banner shows it.
        link_file: the file with the link; None if the banner shows it.
    """

    token: FirstToken | None = None
    code: Secret | None = None
    token_file: Path | None = None
    link_file: Path | None = None


def first_link(config: Config, code: Secret) -> str:
    """Return the one-time link. It contains the code, so it is a secret."""
    # After '#', which browsers do not send, so that no log has it.
    return f"{base_url(config)}/ui/first-administrator#{code.reveal()}"


def keep(config: Config, token: FirstToken | None, code: Secret | None) -> FirstSecrets:
    """Write the secrets to files with mode 0600, because the output may be a log.

    Also remove the link of an earlier start, which is no longer valid.

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
