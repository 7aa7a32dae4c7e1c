"""Settings of the limits that all replicas count together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, StrictStr, model_validator

from authz.addresses import TcpAddress
from authz.config.fields import FilePath, ProviderName, Section, WholeSeconds, matching
from authz.config.key_reference import StoredSecret
from authz.database.url import PostgresURL, SQLiteURL, parse_identity_url

MEMORY = "memory"
_SCHEME = re.compile(r"(valkeys?|rediss?)://", re.IGNORECASE)
_STORE = re.compile(r"memory|(sqlite|postgresql|postgres|valkeys?|rediss?)://\S+")
_WRITE = (
    "write memory, sqlite:///./.authz/limits.db, postgresql://host/database or "
    "valkey://host:6379/0 (valkeys:// with TLS)"
)
_EXAMPLES = ("valkeys://valkey.example.com:6379/0", "sqlite:///./.authz/limits.db", MEMORY)


@dataclass(frozen=True, slots=True)
class ValkeyURL:
    """A database of a Valkey or Redis server.

    Attributes:
        username: empty for the default user.
        database: its number.
    """

    host: str
    port: int
    database: int
    username: str
    tls: bool

    @property
    def display(self) -> str:
        """The server for logs and error texts."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"valkey{'s' * self.tls}://{host}:{self.port}/{self.database}"


StoreUrl = ValkeyURL | PostgresURL | SQLiteURL


def parse_store(text: str) -> StoreUrl | None:
    """Parse ``store``; None is the memory of the process.

    Raises:
        ValueError: the URL is malformed; the message quotes nothing of it.
    """
    if text == MEMORY:
        return None
    match = _SCHEME.match(text)
    if match is not None:
        return _valkey(text, tls=match[1].lower() in ("valkeys", "rediss"))
    if not text.lower().startswith(("sqlite:", "postgresql:", "postgres:")):
        raise ValueError(f"must be a store of counts: {_WRITE}")
    url = parse_identity_url(text)
    assert isinstance(url, PostgresURL | SQLiteURL)  # noqa: S101 - by its scheme
    return url


def _valkey(text: str, *, tls: bool) -> ValkeyURL:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # urllib's message quotes the authority, including a password.
        raise ValueError(f"the URL's host or port is malformed: {_WRITE}") from None
    if parts.password is not None or parts.netloc.count("@") > 1:
        raise ValueError("the URL must not have a password: set limits.shared.password")
    number = parts.path.removeprefix("/") or "0"
    if not parts.hostname or parts.query or parts.fragment or re.search(r"\s", text):
        raise ValueError(f"the URL is malformed: {_WRITE}")
    if port == 0 or re.fullmatch(r"[0-9]{1,5}", number, re.ASCII) is None:
        raise ValueError(f"the URL's path is the number of a database: {_WRITE}")
    username = unquote(parts.username or "")
    return ValkeyURL(parts.hostname, port or 6379, int(number), username, tls)


def _checked_store(text: str) -> str:
    parse_store(text)
    return text


MAX_REQUESTS = 1_000_000
MAX_TOKENS = 1_000_000_000_000
Most = Annotated[int, Field(strict=True, ge=1, le=MAX_REQUESTS)]
MostTokens = Annotated[int, Field(strict=True, ge=1, le=MAX_TOKENS)]


class LimitValues(Section):
    """The limits of one owner.

    Attributes:
        requests_per_minute: the requests in any 60 seconds.
        tokens_per_minute: input and output tokens in any 60 seconds, without input that came from
            the provider's cache. They are known when a request ends, so requests in progress may
            exceed it.
        concurrent_requests: the requests in progress.
    """

    requests_per_minute: Most | None = None
    tokens_per_minute: MostTokens | None = None
    concurrent_requests: Most | None = None

    @property
    def any(self) -> bool:
        """True if there is a limit."""
        return any(value is not None for value in self.__dict__.values())

    @property
    def need_usage(self) -> bool:
        """True if a limit needs the record of a request's end."""
        return self.tokens_per_minute is not None or self.concurrent_requests is not None

    def completed(self, default: "LimitValues") -> "LimitValues":
        """Return the same limits with those of ``default`` in place of the unset ones."""
        return default.model_copy(
            update={name: getattr(self, name) for name in self.model_fields_set}
        )


class SharedLimits(Section):
    """Limits that all Envoys and all authz processes count in one place (docs/limits.md).

    Attributes:
        store: the place: ``memory`` for a single authz process, ``sqlite:///path`` for several
            workers on one machine, ``postgresql://…`` or ``valkey://…`` for replicas. Unset means
            the database of ``identity`` if that is PostgreSQL, else ``memory``.
        password: password of Valkey or Redis.
        ca_file: PEM file with a private CA of Valkey or Redis. Unset means the system's trusted
            roots.
        each_user: limits of every user.
        each_token: limits of every token.
        users: limits by user name, which replace those of ``each_user`` one by one. ``null`` means
            no limit.
        groups: limits by group, for all its members together.
        providers: limits by provider, for all requests with a central key together.
        unavailable: whether requests with a limit are refused or pass while the store does not
            answer.
        longest_request: the time after which a request without a record of its end no longer
            counts as concurrent.
    """

    store: (
        Annotated[StrictStr, AfterValidator(_checked_store), matching(_STORE, *_EXAMPLES)] | None
    ) = None
    password: StoredSecret | None = None
    ca_file: FilePath | None = None
    each_user: LimitValues = LimitValues()
    each_token: LimitValues = LimitValues()
    users: dict[StrictStr, LimitValues] = Field(default_factory=dict)
    groups: dict[StrictStr, LimitValues] = Field(default_factory=dict)
    providers: dict[ProviderName, LimitValues] = Field(default_factory=dict)
    unavailable: Literal["refuse", "pass"] = "refuse"
    longest_request: Annotated[WholeSeconds, Field(ge=60)] = 900

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        is_valkey = self.store is not None and _SCHEME.match(self.store) is not None
        if self.password is not None and not is_valkey:
            raise ValueError("password: needs store to be valkey://… or redis://…")
        if self.password is not None and self.password.is_obtained:
            raise ValueError("password: must be {env: NAME} or {file: PATH}")
        if is_valkey and self.password is None and "@" in str(self.store):
            raise ValueError("store: a user needs password: {file: PATH}")
        if self.ca_file is not None and not (
            is_valkey and str(self.store).lower().startswith(("valkeys", "rediss"))
        ):
            raise ValueError("ca_file: needs store to begin with valkeys:// or rediss://")
        return self

    @property
    def all_values(self) -> list[LimitValues]:
        """The limits of every owner."""
        named = (*self.users.values(), *self.groups.values(), *self.providers.values())
        return [self.each_user, self.each_token, *named]


def place_of(shared: SharedLimits, identity: str) -> StoreUrl | None:
    """Return the place that counts; None is the memory of the process.

    Args:
        identity: the configuration's ``identity``.
    """
    if shared.store is not None:
        return parse_store(shared.store)
    url = parse_identity_url(identity)
    return url if isinstance(url, PostgresURL) else None


def _is_name(address: TcpAddress) -> bool:
    try:
        ip_address(address.host)
    except ValueError:
        return True
    return False


def problem_of(
    shared: SharedLimits,
    *,
    identity: str,
    providers: set[str],
    workers: int,
    authz_grpc: Sequence[TcpAddress],
    has_usage: bool,
    has_external: bool,
) -> str | None:
    """Return the problem of these limits beside the other settings, or None."""
    place, replicas = place_of(shared, identity), len(authz_grpc)
    if has_external:
        return "does not count the requests of external_gateways: use their own rate limits"
    if place is None and (workers > 1 or replicas > 1):
        return (
            "store: 'memory' counts in one process, and there are several: name "
            "postgresql://… or valkey://…, or sqlite:///… for workers on one machine"
        )
    if place is None and shared.store is None and any(map(_is_name, authz_grpc)):
        return (
            "store: is required, because a host in envoy.authz_grpc may stand for several "
            "replicas: name postgresql://… or valkey://…, or memory for a single process"
        )
    if isinstance(place, SQLiteURL):
        if replicas > 1:
            return "store: SQLite is for one machine: name postgresql://… or valkey://…"
        if place == parse_identity_url(identity):
            return "store: must be another file than that of identity, which it would slow down"
    if not has_usage and any(one.need_usage for one in shared.all_values):
        return "tokens_per_minute and concurrent_requests need usage.enabled: true"
    unknown = sorted(set(shared.providers) - providers)
    if unknown:
        return f"providers: there is no provider of this name: {', '.join(unknown)}"
    return None
