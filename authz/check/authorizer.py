"""Answers one check: reads it, looks the token up, decides, and turns every error into a 503."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from time import perf_counter, time

from authz.assigned.current import AssignedRules
from authz.check import ext_authz, responses
from authz.check.decision_cache import CachedDecision, CacheKey, DecisionCache, StoredKey
from authz.check.declared import declared
from authz.check.entry_ids import EntryIds
from authz.check.ext_authz import CONTEXT_MODEL, Check, FinishedResponse, read_field
from authz.check.failures import Failures
from authz.check.gates import Gates
from authz.check.metadata import (
    allowed_metadata,
    label_of,
    log_refusal,
    log_unreadable,
    place_of,
    refused_metadata,
    request_id_of,
)
from authz.check.readers import CheckReader
from authz.check.recheck import Recheck
from authz.check.routes import Routes, UnknownRoute
from authz.check.tags import NO_TAGS, TagReader, Tags
from authz.check.tarpit import Tarpit
from authz.config.loading import open_pools
from authz.config.settings import Config
from authz.core.admission import Admission, Gate
from authz.core.connect import decide_connect, precheck_connect, read_password
from authz.core.credentials import BadHeader, read
from authz.core.decision import decide, precheck
from authz.core.decision_types import Allow, Decision, Deny, Route, RouteKind, Unreadable, refuse
from authz.core.identity import Identity, IdentitySource, Rejection, VerifyNow
from authz.core.providers import ErrorShape
from authz.core.refusals import Reason
from authz.core.tokens import CoderToken
from authz.errors import IdentityUnavailable
from authz.keys.fallbacks import PoolWithFallbacks
from authz.keys.pool import KeyPool
from authz.metrics import Metrics
from authz.model_rules.gate import ModelGate
from authz.own_keys.keyring import Keyring

MAX_IN_PROGRESS = 10_000
"""Limits the checks that wait for the identity source, of all Envoys together."""

Record = Callable[[Decision, str, str, Tags], bytes]
"""Takes a decision, the provider, Envoy's id of the request, and its tags."""


_Found = tuple[CacheKey, CachedDecision, bool]
"""A request, its key in the cache, and whether it is not in the cache yet."""


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
        gates: asked in this order about each request to a provider that is allowed so far.
        assigned: the rules for models that administrators set; None where there are none.

    Attributes:
        is_immediate: whether the source answers without waiting.
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
        gates: Sequence[Gate] = (),
        assigned: AssignedRules | None = None,
    ) -> None:
        if gates and reader is not None:
            raise ValueError("gates do not count the requests of external gateways")
        self._reader = reader
        self._record = record
        self._read_message = ext_authz.read if reader is None else reader.read
        self.is_immediate: bool = getattr(source, "is_immediate", False)
        self._verify_now: VerifyNow = getattr(source, "verify_now", _not_now)
        if config.models is not None:
            # It takes nothing, so no gate has to give anything back.
            gate = ModelGate(config.models, config.provider_names, assigned)
            gates = (gate, *gates)
        self._gates = Gates(gates, leaves_caller=self.is_immediate)
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
        self._tag_reader = TagReader() if config.usage.has_tags else None
        self._failures = Failures(self._metrics, reader, self._error_shape, self._tarpit)

    @property
    def allow_byok(self) -> bool:
        """True if users may bring their own keys."""
        return self._allow_byok

    @allow_byok.setter
    def allow_byok(self, allowed: bool) -> None:
        self._allow_byok = allowed
        # A new cache: a request that waits for its look-up now must not store its old decision.
        self._cache = DecisionCache(self._further)

    def answer(self, message: bytes) -> FinishedResponse | Awaitable[FinishedResponse]:
        """Answer one check, at once if nothing has to be waited for.

        An awaitable yields once before it waits, so that its caller can begin it without a task.

        Args:
            message: a serialized ``CheckRequest``.

        Returns:
            A serialized ``CheckResponse``, or an awaitable of it; every error is a response with
            503.
        """
        if self._gates or self.previous is not None:
            return self.check(message)
        if self._in_progress >= MAX_IN_PROGRESS:
            # Without this response Envoy would wait for its timeout.
            return self._failures.unavailable(Reason.OVERLOADED, None, message)
        started = perf_counter()
        check = None
        try:
            check = self._read_message(message)
            response = self._answer_now(check, started)
            if isinstance(response, tuple):
                return self._answer_later(check, message, started, response)
        except Exception as error:
            response = self._failures.answer(error, check, message, started)
        self._metrics.check_took(perf_counter() - started)
        return response

    async def check(self, message: bytes) -> FinishedResponse:
        """Answer one check; see ``answer``."""
        if self._in_progress >= MAX_IN_PROGRESS:
            return self._failures.unavailable(Reason.OVERLOADED, None, message)
        started = perf_counter()
        try:
            check = self._read_message(message)
        except Exception as error:
            response = self._failures.answer(error, None, message, started)
            self._metrics.check_took(perf_counter() - started)
            return response
        return await self._answer_later(check, message, started)

    async def recheck(self, check: Check) -> Recheck:
        """Decide again on a request that was let in earlier, without counting or reserving it.

        Raises:
            BadCheck: the request can't be read.
            IdentityUnavailable: the identity source does not answer.
        """
        request = self._cache.get(key := self._cache.key_of(check))
        if request is None:
            try:
                route = self._routes.find(check)
            except UnknownRoute:
                # The removal of a provider revokes no token.
                earlier = self.previous
                return await earlier.recheck(check) if earlier else Recheck(None, ErrorShape.ANY)
            found = self._read(check, key, route)
            if isinstance(found, Deny):
                return Recheck(found, route.error_shape)
            request = found
        verification = await self._source.verify(request.token)
        stored = self._stored_key(request.provider, verification)
        # The request has its key already: another choice would change whose turn it is.
        chosen = request.chosen
        if chosen is None and request.pool is not None:
            chosen = request.pool.choose()
        decision = request.decide(verification, chosen, stored)
        if isinstance(decision, Deny):
            return Recheck(decision, request.shape)
        end = decision.identity.expires_at
        return Recheck(None, request.shape, inf if end is None else end.timestamp())

    def _answer_now(self, check: Check, began: float) -> FinishedResponse | _Found:
        """Answer as ``_answer`` does, or return what that needs if it has to wait."""
        found = self._find(check, began)
        if isinstance(found, bytes):
            return found
        key, request, is_new = found
        verification = self._look_up_now(request.token)
        if verification is None:
            return found
        decision = self._decide(request, verification)
        if isinstance(decision, Deny):
            return self._refused(decision, check, request.provider, request.shape, began)
        if request.response is None:
            raise ValueError("an allow without a response")
        if is_new:
            self._cache.put(key, request)
        return self._allowed(request.response, request, check, decision)

    async def _answer_later(
        self, check: Check, message: bytes, began: float, found: _Found | None = None
    ) -> FinishedResponse:
        self._in_progress += 1
        try:
            return await self._answer(check, began, found)
        except Exception as error:
            return self._failures.answer(error, check, message, began)
        finally:
            self._in_progress -= 1
            self._metrics.check_took(perf_counter() - began)

    async def _answer(
        self, check: Check, began: float, found: FinishedResponse | _Found | None = None
    ) -> FinishedResponse:
        cache = self._cache
        if found is None:
            try:
                found = self._find(check, began)
            except UnknownRoute:
                if self.previous is None:
                    raise
                return await self.previous._answer(check, began)
        if isinstance(found, bytes):
            return found
        key, request, is_new = found
        if not self.is_immediate:
            # The caller goes on in a task.
            await asyncio.sleep(0)
        decision = self._decide(request, await self._verify(request.token))
        if isinstance(decision, Deny):
            return self._refused(decision, check, request.provider, request.shape, began)
        if request.response is None:
            raise ValueError("an allow without a response")
        if is_new:
            cache.put(key, request)
        response, entry_id = request.response, None
        if self._gates and request.provider:
            if decision.mode is None:
                raise ValueError("an allow for a provider without a mode")
            # Another check may change ``request`` meanwhile, so its response is read before this.
            entry_id = self._ids.next()
            refused = await self._gates.admit(
                Admission(
                    decision.identity,
                    request.provider,
                    decision.mode,
                    entry_id.decode(),
                    declared(check) if CONTEXT_MODEL in check.context else None,
                )
            )
            if refused is not None:
                return self._refused(
                    refused, check, request.provider, request.shape, began, entry_id
                )
        return self._allowed(response, request, check, decision, entry_id)

    def _find(self, check: Check, began: float) -> FinishedResponse | _Found:
        """Return the request as far as the look-up of its token, or refuse it before that."""
        key = self._cache.key_of(check)
        request = self._cache.get(key)
        if request is not None:
            return key, request, False
        route = self._routes.find(check)
        read = self._read(check, key, route)
        if isinstance(read, Deny):
            return self._refused(read, check, route.provider, route.error_shape, began)
        return key, read, True

    def _allowed(
        self,
        response: FinishedResponse,
        request: CachedDecision,
        check: Check,
        decision: Allow,
        entry_id: bytes | None = None,
    ) -> FinishedResponse:
        self._metrics.count_check("allow", "", request.provider, decision.mode or "")
        if decision.appended:
            response = ext_authz.with_appended(response, decision.appended, check)
        if time() >= request.tells_end_from and (end := decision.identity.expires_at) is not None:
            response = ext_authz.with_token_end(response, end)
        return self._finished(response, check, request.provider, decision, entry_id)

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
            self._pool_of(route),
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

    def _pool_of(self, route: Route) -> KeyPool | PoolWithFallbacks | None:
        pool = self._keys.get(route.provider) if route.provider else None
        if pool is None or not route.fallbacks:
            return pool
        pools = [(one, self._keys.get(one.partition(" ")[0])) for one in route.fallbacks]
        named = [(one, found) for one, found in pools if found is not None]
        return PoolWithFallbacks(pool, named)

    def _decide(self, request: CachedDecision, verification: Identity | Rejection) -> Decision:
        """Return the cached decision if its inputs are the same now, else decide again."""
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

    def _look_up_now(self, token: CoderToken) -> Identity | Rejection | None:
        started = perf_counter()
        try:
            verification = self._verify_now(token)
        except IdentityUnavailable:
            self._metrics.look_up_failed()
            raise
        if verification is not None:
            self._metrics.look_up_took(perf_counter() - started)
        return verification

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
        self,
        denied: Deny,
        check: Check,
        provider: str | None,
        shape: ErrorShape,
        began: float,
        entry_id: bytes | None = None,
    ) -> FinishedResponse:
        self._metrics.count_check("deny", denied.reason, provider)
        request_id = request_id_of(check)
        log_refusal(denied, provider, label_of(check), request_id)
        response = ext_authz.deny(
            responses.refusal(denied, shape, request_id), refused_metadata(denied, provider)
        )
        finished = self._finished(response, check, provider, denied, entry_id)
        return self._tarpit.slowed(finished, began)

    def _finished(
        self,
        response: FinishedResponse,
        check: Check,
        provider: str | None,
        decision: Decision,
        entry_id: bytes | None = None,
    ) -> FinishedResponse:
        """Add the metadata that differs in each request: its path, its tags and its number.

        Args:
            entry_id: the id that the request has already; None gives it one.
        """
        path = place_of(check)
        # A request without a provider is no usage, so it has no number.
        if provider is None:
            return ext_authz.with_path(response, path)
        tags = NO_TAGS
        if self._tag_reader is not None and decision.identity is not None:
            tags = self._tag_reader.read(check, decision.identity.user_id)
            if tags is not NO_TAGS:
                response = ext_authz.with_tags(response, tags.project, tags.session)
        if check.external and self._record is not None:
            entry_id = self._record(decision, provider, request_id_of(check), tags)
            return ext_authz.with_external_id(ext_authz.with_path(response, path), entry_id)
        return ext_authz.with_path_and_id(response, path, entry_id or self._ids.next())

    def _error_shape(self, check: Check) -> ErrorShape:
        try:
            return self._routes.error_shape(check)
        except UnknownRoute:
            return self.previous._error_shape(check) if self.previous else ErrorShape.ANY


def _not_now(_: CoderToken) -> None:
    """Return None, for a source that always has to be waited for."""


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
