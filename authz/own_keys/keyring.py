"""The master keys of ``own_keys.keys``: the first encrypts, all of them decrypt."""

import os
from collections.abc import Mapping, Sequence

import structlog

from authz.config.key_reference import KeyReference
from authz.core.decision_types import Unreadable
from authz.core.identity import Identity
from authz.errors import ConfigError
from authz.keys.sources import CentralKey
from authz.own_keys.envelope import BadEnvelope, MasterKey, key_id_of
from authz.secret import Secret

_log = structlog.get_logger(__name__)

SETTING = "own_keys.keys"
_STALE = "the identity store gave no answer, and no stored key is used from an earlier one"


class Keyring:
    """The master keys of a configuration.

    A key that can't be read refuses only the requests of users whose stored key needs it. A file
    is read again when it changes. A command runs here, so this may block.

    Args:
        references: the places of the keys, the newest key first.
        environ: the environment.
    """

    def __init__(
        self, references: Sequence[KeyReference], environ: Mapping[str, str] = os.environ
    ) -> None:
        self._references = references
        self._environ = environ
        self._sources: dict[int, CentralKey] = {}
        self._failed: dict[int, str] = {}
        self._parsed: dict[int, tuple[Secret, MasterKey]] = {}
        self.problems()

    def log_problems(self) -> None:
        """Log each key that can't be used now."""
        for problem in self.problems():
            _log.error("stored keys: a master key can't be used", why=problem)

    def problems(self) -> list[str]:
        """Return a line for each key that can't be used now; it begins with the setting."""
        return [text for index in range(len(self._references)) if (text := self._problem(index))]

    @property
    def newest(self) -> MasterKey:
        """The key that encrypts.

        Raises:
            ConfigError: the first key can't be used.
        """
        found = self._key(0)
        if isinstance(found, str):
            raise ConfigError([found])
        return found

    def open(self, envelope: str, user_id: str, provider: str) -> Secret:
        """Return the secret of a record.

        Raises:
            BadEnvelope: no key of the ring opens it; the message names the setting.
        """
        key_id = key_id_of(envelope)
        for index in range(len(self._references)):
            key = self._key(index)
            if isinstance(key, MasterKey) and key.id == key_id:
                return key.open(envelope, user_id, provider)
        problems = "".join(f"; {problem}" for problem in self.problems())
        raise BadEnvelope(f"needs the master key {key_id}, which {SETTING} does not have{problems}")

    def stored_key(self, identity: Identity, provider: str) -> Secret | Unreadable | None:
        """Return the key that a user has stored for a provider, if there is one."""
        envelope = identity.own_key(provider)
        if envelope is None:
            return None
        if identity.stale:
            return Unreadable(_STALE)
        try:
            return self.open(envelope, identity.user_id, provider)
        except BadEnvelope as error:
            return Unreadable(f"the stored key {error}")

    def _problem(self, index: int) -> str:
        found = self._key(index)
        return found if isinstance(found, str) else ""

    def _key(self, index: int) -> MasterKey | str:
        """Return a key, or the line that says why it can't be used."""
        reference, where = self._references[index], f"{SETTING}[{index}]"
        try:
            secret = self._source(index).current()
            if secret is None:
                raise ValueError(f"{reference.place} is not set")
            parsed = self._parsed.get(index)
            if parsed is None or parsed[0] != secret:
                parsed = self._parsed[index] = secret, MasterKey.parse(secret.reveal())
            return parsed[1]
        except OSError as error:
            return f"{where}.file: {reference.file}: {error.strerror}"
        except ValueError as error:
            return f"{where}: {error}"

    def _source(self, index: int) -> CentralKey:
        """Open the place of a key; a command that has failed runs again with the next reload."""
        if index in self._failed:
            raise ValueError(self._failed[index])
        if index not in self._sources:
            reference = self._references[index]
            try:
                self._sources[index] = reference.open(self._environ)
            except ValueError as error:
                if reference.is_obtained:
                    self._failed[index] = str(error)
                raise
        return self._sources[index]
