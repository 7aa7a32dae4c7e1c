"""Answers a check that can't be decided: with a 503, whatever has failed."""

from collections.abc import Callable

import structlog

from authz.check import ext_authz, responses
from authz.check.ext_authz import Check, FinishedResponse
from authz.check.metadata import log_unavailable, request_id_of
from authz.check.readers import CheckReader, UnboundCheck
from authz.check.routes import UnknownRoute
from authz.check.tarpit import Tarpit
from authz.core.providers import ErrorShape
from authz.core.refusals import REFUSALS, Reason
from authz.errors import IdentityUnavailable
from authz.identity.bad_tokens import TooManyBadTokens
from authz.metrics import Metrics

_log = structlog.get_logger(__name__)


class Failures:
    """Turns errors into responses.

    Args:
        metrics: counts the responses.
        reader: tells who asks, for a check that can't be read; None where only our own Envoy does.
        error_shape: returns the JSON format of errors for a request; it may raise.
        tarpit: delays the responses that a flood of invalid tokens causes.
    """

    def __init__(
        self,
        metrics: Metrics,
        reader: CheckReader | None,
        error_shape: Callable[[Check], ErrorShape],
        tarpit: Tarpit,
    ) -> None:
        self._metrics = metrics
        self._reader = reader
        self._error_shape = error_shape
        self._tarpit = tarpit

    def answer(
        self, error: Exception, check: Check | None, message: bytes, began: float
    ) -> FinishedResponse:
        """Log an error, and return the 503 for it.

        Args:
            error: any error.
            check: None if it could not be read.
            message: the serialized check.
            began: the time when the check began.
        """
        reason = Reason.INTERNAL_ERROR
        if isinstance(error, IdentityUnavailable):
            reason = Reason.IDENTITY_UNAVAILABLE
            log_unavailable(str(error), _request_id(check))
        elif isinstance(error, UnknownRoute):
            reason = Reason.UNKNOWN_ROUTE
            _log.error(
                "unknown route: render Envoy's configuration again",
                why=str(error),
                request_id=_request_id(check),
            )
        elif isinstance(error, UnboundCheck):
            reason = Reason.UNKNOWN_ROUTE
        else:
            # We log the type alone, since a message could quote the request.
            _log.error("check failed", error=type(error).__name__, request_id=_request_id(check))
        response = self.unavailable(reason, check, message)
        if isinstance(error, TooManyBadTokens):
            return self._tarpit.slowed(response, began)
        return response

    def unavailable(self, reason: Reason, check: Check | None, message: bytes) -> FinishedResponse:
        """Return the 503 for a reason; the arguments are those of ``answer``."""
        self._metrics.count_check("unavailable", reason)
        if check is not None:
            external = check.external
        else:
            external = self._reader is not None and self._reader.is_external(message)
        response = responses.unavailable(
            REFUSALS[reason], self._shape(check), _request_id(check) or ""
        )
        return ext_authz.unavailable(
            response, {"decision": "unavailable", "reason": reason}, external=external
        )

    def _shape(self, check: Check | None) -> ErrorShape:
        if check is None:
            return ErrorShape.ANY
        try:
            return self._error_shape(check)
        except Exception:
            return ErrorShape.ANY


def _request_id(check: Check | None) -> str | None:
    return request_id_of(check) if check is not None else None
