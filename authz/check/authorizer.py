"""From Envoy's question to our answer: reads, looks up, decides, and never lets an error pass."""

from collections.abc import Mapping
from time import perf_counter

import structlog

from authz.check import ext_authz, responses
from authz.check.decision_cache import CachedDecision, DecisionCache, Key
from authz.check.entry_ids import EntryIds
from authz.check.ext_authz import (
    CONTEXT_BASE_URL,
    CONTEXT_CENTRAL_KEY,
    CONTEXT_KEYLESS,
    CONTEXT_KIND,
    CONTEXT_PROVIDER,
    CONTEXT_SUPPORTED,
    SUPPORTED_OWN,
    Check,
    FinishedAnswer,
    read_field,
)
from authz.check.metadata import (
    advised_label,
    allowed_metadata,
    label_of,
    log_refusal,
    log_unavailable,
    place_of,
    refused_metadata,
    request_id_of,
)
from authz.config.loading import open_pools
from authz.config.settings import Config
from authz.core import query
from authz.core.connect import decide_connect, precheck_connect, read_password
from authz.core.credentials import BadHeader, read
from authz.core.decision import Allow, Deny, Kind, Reason, Route, decide, precheck
from authz.core.identity import Identity, IdentitySource, Rejection
from authz.core.providers import ErrorShape
from authz.core.tokens import CoderToken
from authz.errors import IdentityUnavailable
from authz.keys.pool import KeyPool
from authz.metrics import Metrics

_log = structlog.get_logger(__name__)


MAX_UNDER_WAY = 10_000
"""Checks that wait for the identity source, of all Envoys together."""

_KINDS = {kind.value: kind for kind in (Kind.CONNECT, Kind.OWN)}


class UnknownRoute(LookupError):  # noqa: N818 - it is named for what it is about
    """Envoy's route names a provider that is not in our configuration."""


class Authorizer:
    """Answers checks.

    Args:
        config: the configuration; a reload makes a new Authorizer.
        source: where tokens are looked up, on every check.
        keys: the central keys by provider name; None opens those of ``config``.
        metrics: where answers are counted.
        ids: numbers the requests, for the logs.

    Attributes:
        is_immediate: whether ``check`` never waits.
        allow_byok: as in the configuration, until a newer one says otherwise.
        before: what answers for a route that this configuration does not know, while an Envoy
            still has the routes of the one before it; None where nothing does.
    """

    def __init__(
        self,
        config: Config,
        source: IdentitySource,
        keys: Mapping[str, KeyPool] | None = None,
        metrics: Metrics | None = None,
        ids: EntryIds | None = None,
    ) -> None:
        # Such a source lets the server answer a check without making a task for it.
        self.is_immediate: bool = getattr(source, "is_immediate", False)
        self.before: Authorizer | None = None
        self._metrics = metrics or Metrics()
        self._ids = ids or EntryIds()
        self._allow_byok = config.allow_byok
        self._source = source
        self._under_way = 0
        self._further = frozenset(
            name for provider in config.providers for name in provider.credential_headers
        )
        self._readings = DecisionCache(self._further)
        self._keys = open_pools(config) if keys is None else keys
        # The base URL is part of the key: a central key goes to no other upstream than the one
        # that our own configuration names beside it, however old Envoy's configuration is.
        self._providers = {
            (provider.name, str(provider.base_url)): provider for provider in config.providers
        }
        self._names = tuple(provider.name for provider in config.providers)

    @property
    def allow_byok(self) -> bool:
        """Whether users may bring their own keys."""
        return self._allow_byok

    @allow_byok.setter
    def allow_byok(self, allowed: bool) -> None:
        self._allow_byok = allowed
        # A new one: a request that waits for its token's look-up now must keep nothing for later.
        self._readings = DecisionCache(self._further)

    async def check(self, message: bytes) -> FinishedAnswer:
        """Answer one check.

        Args:
            message: a serialized ``CheckRequest``.

        Returns:
            A serialized ``CheckResponse``; whatever goes wrong inside is an answer of 503.
        """
        shape, check = ErrorShape.ANY, None
        if self._under_way >= MAX_UNDER_WAY:
            # Envoy is told at once, who otherwise would wait for its timeout.
            return self._unavailable("overloaded", shape, "")
        self._under_way += 1
        began = perf_counter()
        try:
            check = ext_authz.read(message)
            decision_cache = self._readings
            key = decision_cache.key_of(check)
            reading = kept = decision_cache.get(key)
            if reading is None:
                route = self._route(check)
                if route.type is not None:
                    shape = route.type.error_shape
                read = self._read(check, key, route)
                if isinstance(read, Deny):
                    return self._refused(read, check, route.provider, shape)
                reading = read
            shape = reading.shape
            outcome = await self._decide(reading)
            if isinstance(outcome, Deny):
                return self._refused(outcome, check, reading.provider, shape)
            if reading.answer is None:
                raise ValueError("an allow was not written out")
            if kept is None:
                decision_cache.keep(key, reading)
            self._metrics.count_check("allow", "", reading.provider, outcome.mode or "")
            return self._finished(reading.answer, check, reading.provider)
        except IdentityUnavailable as error:
            log_unavailable(str(error), request_id_of(check) if check else None)
            reason = "identity_unavailable"
        except UnknownRoute as error:
            if self.before is not None:
                return await self.before.check(message)
            _log.error(
                "unknown route: render Envoy's configuration again",
                why=str(error),
                request_id=request_id_of(check) if check else None,
            )
            reason = "unknown_route"
        except Exception as error:
            # The type alone: a message could quote what the request brought.
            _log.error(
                "check failed",
                error=type(error).__name__,
                request_id=request_id_of(check) if check else None,
            )
            reason = "internal_error"
        finally:
            self._under_way -= 1
            self._metrics.check_took(perf_counter() - began)
        return self._unavailable(reason, shape, request_id_of(check) if check else "")

    def _unavailable(self, reason: str, shape: ErrorShape, request_id: str) -> FinishedAnswer:
        self._metrics.count_check("unavailable", reason)
        answer = responses.unavailable(shape, request_id)
        return ext_authz.unavailable(answer, {"decision": "unavailable", "reason": reason})

    def _refused(
        self, refusal: Deny, check: Check, provider: str | None, shape: ErrorShape
    ) -> FinishedAnswer:
        self._metrics.count_check("deny", refusal.reason, provider)
        request_id = request_id_of(check)
        log_refusal(refusal, provider, label_of(check), request_id)
        answer = responses.refusal(refusal, shape, request_id)
        denied = ext_authz.deny(answer, refused_metadata(refusal, provider))
        return self._finished(denied, check, provider)

    def _finished(
        self, answer: FinishedAnswer, check: Check, provider: str | None
    ) -> FinishedAnswer:
        """Add what is different for each request: where it goes and its number, for the logs."""
        answer = ext_authz.at(answer, place_of(check))
        # What leads to no provider is no use of one.
        if provider is None:
            return answer
        return ext_authz.numbered(answer, self._ids.next())

    async def _decide(self, reading: CachedDecision) -> Allow | Deny:
        """Decide on a request, or take the decision on one like it, made on the same facts."""
        verification = await self._verify(reading.token)
        chosen = reading.pool.choose() if reading.pool else None
        outcome = reading.decided(verification, chosen)
        if outcome is None:
            outcome = reading.decide(verification, chosen)
            # Written first: what can't be written must not be found as a decision by the next
            # request.
            answer = None
            if isinstance(outcome, Allow):
                answer = ext_authz.allow(outcome, allowed_metadata(outcome))
            reading.answer = answer
            reading.verification, reading.chosen, reading.outcome = verification, chosen, outcome
        return outcome

    def _read(self, check: Check, key: Key, route: Route) -> CachedDecision | Deny:
        """Read a request, or refuse it without a look-up."""
        if route.kind is Kind.CONNECT:
            connecting = precheck_connect(read_password(check.headers))
            if isinstance(connecting, Deny):
                return connecting
            return CachedDecision(
                None,
                ErrorShape.ANY,
                connecting,
                None,
                lambda verification, _: decide_connect(connecting, verification),
            )
        try:
            credentials = read((read_field(field) for field in key[2]), self._further)
        except BadHeader as error:
            return Deny(
                status=400,
                error_type="invalid_request_error",
                code="bad_header",
                message=f"Header {error}.",
                reason=Reason.BAD_HEADER,
            )
        allow_byok = self._allow_byok
        token = precheck(credentials, route.type, allow_byok=allow_byok, in_query=route.query)
        if isinstance(token, Deny):
            return token
        return CachedDecision(
            route.provider,
            route.type.error_shape if route.type else ErrorShape.ANY,
            token,
            self._keys.get(route.provider) if route.provider else None,
            lambda verification, chosen: decide(
                credentials, route, token, verification, chosen, allow_byok=allow_byok
            ),
        )

    async def _verify(self, token: CoderToken) -> Identity | Rejection:
        began = perf_counter()
        try:
            verification = await self._source.verify(token)
        except IdentityUnavailable:
            self._metrics.look_up_failed()
            raise
        self._metrics.look_up_took(perf_counter() - began)
        return verification

    def _route(self, check: Check) -> Route:
        context = check.context
        name = context.get(CONTEXT_PROVIDER, "")
        if not name:
            kind = _KINDS.get(context.get(CONTEXT_KIND, ""), Kind.PROVIDER)
            return Route(kind=kind, label=advised_label(check, None, self._names))
        provider = self._providers.get((name, context.get(CONTEXT_BASE_URL, "")))
        if provider is None:
            raise UnknownRoute(f"provider {name!r} with that base_url is not in gateway.yaml")
        supported = context.get(CONTEXT_SUPPORTED)
        is_listed, own_only = supported == "true", supported == SUPPORTED_OWN
        return Route(
            provider=name,
            type=provider.provider_type,
            supported=is_listed or own_only,
            own_only=own_only,
            label="" if is_listed else advised_label(check, provider, own_passes=own_only),
            # Only a route that is not for the central key says anything about it.
            central_key=context.get(CONTEXT_CENTRAL_KEY, "true") == "true",
            keyless=context.get(CONTEXT_KEYLESS) == "true",
            signed=provider.signed,
            open=provider.is_open,
            query=query.find(check.path, provider.provider_type.query),
            accounts=tuple(provider.account_headers.items()),
        )
