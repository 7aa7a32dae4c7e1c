"""Answers one check: reads it, looks the token up, decides, and turns every error into a 503."""

from collections.abc import Callable, Mapping
from math import inf
from time import perf_counter, time

import structlog

from authz.check import ext_authz, responses
from authz.check.decision_cache import CachedDecision, CacheKey, DecisionCache, StoredKey
from authz.check.entry_ids import EntryIds
from authz.check.ext_authz import Check, FinishedResponse, read_field
from authz.check.metadata import (
    allowed_metadata,
    label_of,
    log_refusal,
    log_unavailable,
    log_unreadable,
    place_of,
    refused_metadata,
    request_id_of,
)
from authz.check.readers import CheckReader, UnboundCheck
from authz.check.routes import Routes, UnknownRoute
from authz.check.tarpit import Tarpit
from authz.config.loading import open_pools
from authz.config.settings import Config
from authz.core.connect import decide_connect, precheck_connect, read_password
from authz.core.credentials import BadHeader, read
from authz.core.decision import decide, precheck
from authz.core.decision_types import Allow, Decision, Deny, Route, RouteKind, Unreadable, refuse
from authz.core.identity import Identity, IdentitySource, Rejection
from authz.core.providers import ErrorShape
from authz.core.refusals import REFUSALS, Reason
from authz.core.tokens import CoderToken
from authz.errors import IdentityUnavailable
from authz.identity.bad_tokens import TooManyBadTokens
from authz.keys.pool import KeyPool
from authz.metrics import Metrics
from authz.own_keys.keyring import Keyring

_log = structlog.get_logger(__name__)

MAX_IN_PROGRESS = 10_000
"""Limits the checks that wait for the identity source, of all Envoys together."""

Record = Callable[[Decision, str, str], bytes]
"""Takes a decision, the provider, and Envoy's id of the request."""


class Authorizer:
    """Answers checks.

    Args:
        config: the configuration; a reload creates a new Authorizer.
        source: looks tokens up, on every check.
        keys: the central keys by provider name; None opens those of ``config``.
        metrics: counts the responses.
        ids: numbers the requests, for the logs.
        reader: reads the checks of external gateways, too; None where there are none.
        record: records a request of an external gateway, and returns its id; None numbers it as
            those of our own Envoy.
        keyring: decrypts the keys that users have stored; None if they can't store any.

    Attributes:
        is_immediate: whether ``check`` never waits.
        allow_byok: as in the configuration; a reload may change it.
        previous: answers for a route that this configuration does not know, while an Envoy still
            has the routes of the previous configuration; None where there is no such time.
    """

    def __init__(
        self,
        config: Config,
        source: IdentitySource,
        keys: Mapping[str, KeyPool] | None = None,
        metrics: Metrics | None = None,
        ids: EntryIds | None = None,
        reader: CheckReader | None = None,
        record: Record | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        self._reader = reader
        self._record = record
        self._read_message = ext_authz.read if reader is None else reader.read
        # With such a source the server can answer a check without a task.
        self.is_immediate: bool = getattr(source, "is_immediate", False)
        self.previous: Authorizer | None = None
        self._metrics = metrics or Metrics()
        self._ids = ids or EntryIds()
        self._allow_byok = config.allow_byok
        self._source = source
        self._keyring = keyring
        self._in_progress = 0
        self._further = frozenset(
            name for provider in config.providers for name in provider.credential_headers
        )
        self._cache = DecisionCache(self._further)
        self._keys = open_pools(config) if keys is None else keys
        self._routes = Routes(config)
        self._tarpit = Tarpit(_max_delayed(config))

    @property
    def allow_byok(self) -> bool:
        """True if users may bring their own keys."""
        return self._allow_byok

    @allow_byok.setter
    def allow_byok(self, allowed: bool) -> None:
        self._allow_byok = allowed
        # A new cache: a request that waits for its look-up now must not store its old decision.
        self._cache = DecisionCache(self._further)

    async def check(self, message: bytes) -> FinishedResponse:
        """Answer one check.

        Args:
            message: a serialized ``CheckRequest``.

        Returns:
            A serialized ``CheckResponse``; every error is a response with 503.
        """
        if self._in_progress >= MAX_IN_PROGRESS:
            # Without this response Envoy would wait for its timeout.
            return self._unavailable(Reason.OVERLOADED, None, message)
        self._in_progress += 1
        started = perf_counter()
        check = None
        try:
            check = self._read_message(message)
            return await self._answer(check, started)
        except TooManyBadTokens as error:
            log_unavailable(str(error), _request_id(check))
            response = self._unavailable(Reason.IDENTITY_UNAVAILABLE, check, message)
            return self._tarpit.slowed(response, started)
        except IdentityUnavailable as error:
            reason = Reason.IDENTITY_UNAVAILABLE
            log_unavailable(str(error), _request_id(check))
        except UnknownRoute as error:
            reason = Reason.UNKNOWN_ROUTE
            _log.error(
                "unknown route: render Envoy's configuration again",
                why=str(error),
                request_id=_request_id(check),
            )
        except UnboundCheck:
            reason = Reason.UNKNOWN_ROUTE
        except Exception as error:
            reason = Reason.INTERNAL_ERROR
            # We log the type alone, since a message could quote the request.
            _log.error("check failed", error=type(error).__name__, request_id=_request_id(check))
        finally:
            self._in_progress -= 1
            self._metrics.check_took(perf_counter() - started)
        return self._unavailable(reason, check, message)

    async def _answer(self, check: Check, began: float) -> FinishedResponse:
        cache = self._cache
        key = cache.key_of(check)
        request = cached = cache.get(key)
        if request is None:
            try:
                route = self._routes.find(check)
            except UnknownRoute:
                if self.previous is None:
                    raise
                return await self.previous._answer(check, began)
            found = self._read(check, key, route)
            if isinstance(found, Deny):
                return self._refused(found, check, route.provider, route.error_shape, began)
            request = found
        decision = await self._decide(request)
        if isinstance(decision, Deny):
            return self._refused(decision, check, request.provider, request.shape, began)
        if request.response is None:
            raise ValueError("an allow without a response")
        if cached is None:
            cache.put(key, request)
        self._metrics.count_check("allow", "", request.provider, decision.mode or "")
        response = request.response
        if time() >= request.tells_end_from and (end := decision.identity.expires_at) is not None:
            response = ext_authz.with_token_end(response, end)
        return self._finished(response, check, request.provider, decision)

    def _read(self, check: Check, key: CacheKey, route: Route) -> CachedDecision | Deny:
        """Read a request, or refuse it without a look-up."""
        if route.kind is RouteKind.CONNECT:
            connecting = precheck_connect(read_password(check.headers))
            if isinstance(connecting, Deny):
                return connecting
            return CachedDecision(
                None,
                ErrorShape.ANY,
                connecting,
                None,
                lambda verification, *_: decide_connect(connecting, verification),
            )
        try:
            credentials = read(map(read_field, key[2]), self._further, joined=route.joined)
        except BadHeader as error:
            return refuse(Reason.BAD_HEADER, {"problem": error})
        allow_byok = self._allow_byok
        token = precheck(credentials, route.type, allow_byok=allow_byok, in_query=route.query)
        if isinstance(token, Deny):
            return token
        return CachedDecision(
            route.provider,
            route.error_shape,
            token,
            self._keys.get(route.provider) if route.provider else None,
            lambda verification, chosen, stored: decide(
                credentials,
                route,
                token,
                verification,
                chosen,
                allow_byok=allow_byok,
                stored=stored,
            ),
        )

    async def _decide(self, request: CachedDecision) -> Decision:
        """Return the cached decision if its inputs are the same now, else decide again."""
        verification = await self._verify(request.token)
        chosen = request.pool.choose() if request.pool else None
        decision = request.decision_on(verification, chosen)
        if decision is None:
            stored = self._stored_key(request.provider, verification)
            decision = request.decide(verification, chosen, stored)
            if isinstance(stored, Unreadable) and isinstance(decision, Deny):
                # Not kept, because the master key may come back.
                log_unreadable(stored.why, decision, request.provider)
                return decision
            # Serialized first: if that fails, the next request must not find a cached decision.
            response = None
            if isinstance(decision, Allow):
                response = ext_authz.allow(decision, allowed_metadata(decision))
                request.tells_end_from = _tells_end_from(decision)
            request.response = response
            request.verification, request.chosen = verification, chosen
            request.decision = decision
        return decision

    def _stored_key(self, provider: str | None, verification: Identity | Rejection) -> StoredKey:
        if self._keyring is None or provider is None or isinstance(verification, Rejection):
            return None
        return self._keyring.stored_key(verification, provider)

    async def _verify(self, token: CoderToken) -> Identity | Rejection:
        started = perf_counter()
        try:
            verification = await self._source.verify(token)
        except IdentityUnavailable:
            self._metrics.look_up_failed()
            raise
        self._metrics.look_up_took(perf_counter() - started)
        return verification

    def _refused(
        self, denied: Deny, check: Check, provider: str | None, shape: ErrorShape, began: float
    ) -> FinishedResponse:
        self._metrics.count_check("deny", denied.reason, provider)
        request_id = request_id_of(check)
        log_refusal(denied, provider, label_of(check), request_id)
        response = ext_authz.deny(
            responses.refusal(denied, shape, request_id), refused_metadata(denied, provider)
        )
        finished = self._finished(response, check, provider, denied)
        return self._tarpit.slowed(finished, began)

    def _finished(
        self,
        response: FinishedResponse,
        check: Check,
        provider: str | None,
        decision: Decision,
    ) -> FinishedResponse:
        """Add the metadata that differs in each request: its path and its number."""
        response = ext_authz.with_path(response, place_of(check))
        # A request without a provider is no usage, so it has no number.
        if provider is None:
            return response
        if check.external and self._record is not None:
            entry_id = self._record(decision, provider, request_id_of(check))
            return ext_authz.with_external_id(response, entry_id)
        return ext_authz.with_entry_id(response, self._ids.next())

    def _unavailable(self, reason: Reason, check: Check | None, message: bytes) -> FinishedResponse:
        self._metrics.count_check("unavailable", reason)
        if check is not None:
            external = check.external
        else:
            external = self._reader is not None and self._reader.is_external(message)
        response = responses.unavailable(
            REFUSALS[reason], self._error_shape(check), _request_id(check) or ""
        )
        return ext_authz.unavailable(
            response, {"decision": "unavailable", "reason": reason}, external=external
        )

    def _error_shape(self, check: Check | None) -> ErrorShape:
        """Return the JSON format of errors for a request, also for one that can't be read."""
        if check is None:
            return ErrorShape.ANY
        try:
            return self._routes.error_shape(check)
        except UnknownRoute:
            return self.previous._error_shape(check) if self.previous else ErrorShape.ANY
        except Exception:
            return ErrorShape.ANY


def _tells_end_from(decision: Allow) -> float:
    """Return the time from which a client is told when its token ends, in epoch seconds."""
    end = decision.identity.expires_at
    # A tunnel's response is read by no person.
    if end is None or decision.provider is None:
        return inf
    return (end - ext_authz.TELLS_BEFORE).timestamp()


def _max_delayed(config: Config) -> int:
    """Return this process's share of half of the checks that Envoy has under way at most.

    The other half is left to requests that are not refused.
    """
    processes = config.envoy.authz_grpc or config.authz.grpc_addresses
    return config.envoy.max_checks // (2 * len(processes))


def _request_id(check: Check | None) -> str | None:
    return request_id_of(check) if check is not None else None
