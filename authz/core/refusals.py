"""The refusals: one table with the status, error type, code and message of each.

The log, the metrics and the client use the same word for a refusal. ``docs/refusals.md`` lists all
of them with cause and cure, and a test compares the page with this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from authz.core.identity import Rejection

TOKEN_INVALID = "token_invalid"  # noqa: S105 - a code, no secret
"""The code of every refused token: no answer may say whether a token id exists."""

INVALID_REQUEST = "invalid_request_error"
AUTHENTICATION = "authentication_error"
PERMISSION = "permission_error"
NOT_FOUND = "not_found_error"
RATE_LIMIT = "rate_limit_error"
API = "api_error"
"""Error types, as Anthropic names them."""


class Reason(StrEnum):
    """A reason to refuse a request, beside those of ``Rejection``."""

    BAD_HEADER = "bad_header"
    TOKEN_IN_URL = "token_in_url"  # noqa: S105 - a reason, no secret
    KEY_IN_URL = "key_in_url"
    TOKEN_MISSING = "token_missing"  # noqa: S105
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105
    BYOK_DISABLED = "byok_disabled"
    ROUTE_NOT_SUPPORTED = "route_not_supported"
    CREDENTIAL_REQUIRED = "credential_required"
    KEYS_LIMITED = "keys_limited"
    KEYS_REFUSED = "keys_refused"
    RULE_PROVIDER = "token_rule_provider"
    RULE_MODE = "token_rule_mode"
    GROUP_PROVIDER = "group_rule_provider"
    GROUP_MODE = "group_rule_mode"
    OWN_KEY_UNREADABLE = "own_key_unreadable"
    MODEL_UNKNOWN = "model_unknown"
    MODEL_REFUSED = "model_not_allowed"
    MODEL_UNPRICED = "model_unpriced"
    OUTPUT_UNLIMITED = "output_limit_required"
    BUDGET_SPENT = "budget_spent"
    BUDGETS_UNAVAILABLE = "budgets_unavailable"
    REQUESTS_LIMITED = "requests_limited"
    TOKENS_LIMITED = "tokens_limited"
    CONCURRENCY_LIMITED = "concurrency_limited"
    LIMITS_UNAVAILABLE = "limits_unavailable"
    RULES_UNAVAILABLE = "rules_unavailable"

    IDENTITY_UNAVAILABLE = "identity_unavailable"
    UNKNOWN_ROUTE = "unknown_route"
    OVERLOADED = "overloaded"
    INTERNAL_ERROR = "internal_error"

    # Envoy makes these replies without authz.
    HEADERS_TOO_LARGE = "headers_too_large"
    BAD_REQUEST = "bad_request"
    USER_RATE_LIMITED = "user_rate_limited"
    PROVIDER_UNREACHABLE = "provider_unreachable"
    PROVIDER_EJECTED = "provider_ejected"
    PROVIDER_TIMEOUT = "provider_timeout"
    PRIVATE_ADDRESS = "private_address"
    HOST_UNREACHABLE = "host_unreachable"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row of the table.

    Attributes:
        reason: the word in the log and the metrics.
        status: the HTTP status.
        error_type: Anthropic's name of the error class.
        message: the text for the person at the client; ``str.format`` fills in its fields.
        code: the word for the client, which is the reason unless the reason is a secret.
    """

    reason: Reason | Rejection
    status: int
    error_type: str
    message: str
    code: str = ""

    def __post_init__(self) -> None:
        if not self.code:
            object.__setattr__(self, "code", str(self.reason))


_NOT_NOW = "The gateway can't check Coder tokens at the moment. Try again shortly."
_LIMITED = "This Coder token may not be used for {use}: it is limited to {rules}. {advice}"
_LIMITED_BY_GROUP = "You may not use {use}: {groups}. {advice}"

_BY_AUTHZ = (
    Refusal(Reason.BAD_HEADER, 400, INVALID_REQUEST, "Header {problem}."),
    Refusal(
        Reason.TOKEN_IN_URL,
        400,
        INVALID_REQUEST,
        "The Coder token is part of the URL. Send it in a header only.",
    ),
    Refusal(Reason.KEY_IN_URL, 400, INVALID_REQUEST, "{problem}"),
    Refusal(Reason.MODEL_UNKNOWN, 400, INVALID_REQUEST, "{problem}"),
    Refusal(
        Reason.MODEL_REFUSED,
        400,
        INVALID_REQUEST,
        'You may not use the model "{model}" here: {why}. Choose another model, or ask your '
        "administrator.",
    ),
    Refusal(
        Reason.MODEL_UNPRICED,
        400,
        INVALID_REQUEST,
        'The model "{model}" has no price here, so no budget can hold for it. Choose another '
        "model, or ask your administrator.",
    ),
    Refusal(
        Reason.OUTPUT_UNLIMITED,
        400,
        INVALID_REQUEST,
        "Your budget is strict, so a request has to limit its response: set max_tokens, or "
        "max_completion_tokens, max_output_tokens or maxOutputTokens where the API calls it so.",
    ),
    Refusal(
        Reason.TOKEN_MISSING,
        401,
        AUTHENTICATION,
        "No Coder token was sent. Send it as Authorization: Bearer or as X-Api-Key, or "
        "in X-Coder-AI-Governance-Token beside your own provider credential.",
    ),
    Refusal(
        Reason.TOKEN_MALFORMED,
        401,
        AUTHENTICATION,
        "{headers} no Coder token (10 letters or digits, a hyphen, 22 letters or digits). {advice}",
        TOKEN_INVALID,
    ),
    *(
        Refusal(
            rejection,
            401,
            AUTHENTICATION,
            "The Coder token is not valid. It may have ended or been removed. Create a new one and "
            "try again.",
            TOKEN_INVALID,
        )
        for rejection in Rejection
    ),
    Refusal(Reason.CREDENTIAL_REQUIRED, 401, AUTHENTICATION, "{problem}: {advice}"),
    Refusal(
        Reason.BYOK_DISABLED,
        403,
        PERMISSION,
        "Bring Your Own Key (BYOK) is switched off here (allow_byok: false). {advice}",
    ),
    Refusal(Reason.RULE_PROVIDER, 403, PERMISSION, _LIMITED),
    Refusal(Reason.RULE_MODE, 403, PERMISSION, _LIMITED),
    Refusal(Reason.GROUP_PROVIDER, 403, PERMISSION, _LIMITED_BY_GROUP),
    Refusal(Reason.GROUP_MODE, 403, PERMISSION, _LIMITED_BY_GROUP),
    Refusal(Reason.ROUTE_NOT_SUPPORTED, 404, NOT_FOUND, "route not supported: {label}"),
    Refusal(
        Reason.KEYS_LIMITED,
        429,
        RATE_LIMIT,
        'Every central key of provider "{provider}" is rate limited. Try again in {seconds} s.',
    ),
    Refusal(
        Reason.BUDGET_SPENT,
        429,
        RATE_LIMIT,
        "The budget of {owner} has no room for this request: {used} of {limit} for {period} "
        "is spent or reserved, and a request takes about {amount}. The budget starts again on "
        "{again}. Ask your administrator for more.",
    ),
    Refusal(
        Reason.REQUESTS_LIMITED,
        429,
        RATE_LIMIT,
        "The limit of {owner} is reached: {most} requests per minute. Try again in {seconds} s.",
    ),
    Refusal(
        Reason.TOKENS_LIMITED,
        429,
        RATE_LIMIT,
        "The limit of {owner} is reached: {most} tokens per minute. Try again in {seconds} s.",
    ),
    Refusal(
        Reason.CONCURRENCY_LIMITED,
        429,
        RATE_LIMIT,
        "The limit of {owner} is reached: {most} concurrent requests. Try again when one of them "
        "has ended.",
    ),
    Refusal(
        Reason.KEYS_REFUSED,
        502,
        API,
        'Provider "{provider}" refuses every central key. Ask your administrator to replace them.',
    ),
    Refusal(
        Reason.OWN_KEY_UNREADABLE,
        503,
        API,
        'The gateway can\'t decrypt the key that you have stored for provider "{provider}". Ask '
        "your administrator to read the log, or store the key again.",
    ),
    Refusal(
        Reason.BUDGETS_UNAVAILABLE,
        503,
        API,
        "The gateway can't check budgets at the moment. Try again shortly.",
    ),
    Refusal(
        Reason.LIMITS_UNAVAILABLE,
        503,
        API,
        "The gateway can't count requests at the moment. Try again shortly.",
    ),
    Refusal(
        Reason.RULES_UNAVAILABLE,
        503,
        API,
        "The gateway can't check the rules for models at the moment. Try again shortly.",
    ),
    Refusal(Reason.IDENTITY_UNAVAILABLE, 503, API, _NOT_NOW),
    Refusal(Reason.UNKNOWN_ROUTE, 503, API, _NOT_NOW),
    Refusal(Reason.OVERLOADED, 503, API, _NOT_NOW),
    Refusal(Reason.INTERNAL_ERROR, 503, API, _NOT_NOW),
)

BY_ENVOY = (
    Refusal(Reason.BAD_REQUEST, 400, INVALID_REQUEST, "{problem}"),
    Refusal(Reason.PRIVATE_ADDRESS, 403, PERMISSION, "{problem}"),
    Refusal(Reason.USER_RATE_LIMITED, 429, RATE_LIMIT, "{problem}"),
    Refusal(Reason.HEADERS_TOO_LARGE, 431, INVALID_REQUEST, "{problem}"),
    Refusal(Reason.HOST_UNREACHABLE, 502, API, "{problem}"),
    Refusal(Reason.PROVIDER_UNREACHABLE, 503, API, "{problem}"),
    Refusal(Reason.PROVIDER_EJECTED, 503, API, "{problem}"),
    Refusal(Reason.PROVIDER_TIMEOUT, 504, API, "{problem}"),
)
"""Refusals that Envoy makes without authz; ``authz.envoy`` has their texts.

Envoy uses ``bad_request`` and ``provider_unreachable`` with other statuses, too. Besides these rows
it replies with ``identity_unavailable`` and ``route_not_supported``.
"""

REFUSALS: Mapping[Reason | Rejection, Refusal] = MappingProxyType(
    {refusal.reason: refusal for refusal in (*_BY_AUTHZ, *BY_ENVOY)}
)
"""Every refusal by its reason."""


def proxy_challenge(reason: Reason | Rejection) -> Refusal:
    """Return the refusal of a CONNECT to the AI Gateway Proxy.

    Proxies answer with 407, and every refused token gets the same text, as in Coder.
    """
    return replace(REFUSALS[reason], status=407, message="Proxy Authentication Required")


NO_WEBSOCKET = "There is no WebSocket on this path: use HTTP."


def no_websocket() -> Refusal:
    """Return the refusal of a WebSocket on a path without one.

    Codex asks over HTTP at once after a 426, and tries six more times after any other status.
    """
    return replace(REFUSALS[Reason.BAD_REQUEST], status=426, message=NO_WEBSOCKET)
