"""Requests that Envoy refuses before it asks authz, and the answers to them.

Envoy compares two things with the connection manager's limits: the headers that a client sends, and
the same headers with those that authz sets. Exceeding them in the second case is a 500, which SDKs
retry. So the connection manager's limits leave room for authz, and a filter in front of authz
enforces the limits for clients.
"""

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLogFilter, ExtensionFilter
from envoy_data_plane.envoy.config.rbac.v3 import (
    Permission,
    Policy,
    Principal,
    Rbac,
    RbacAction,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac as RbacFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.api.expr.v1alpha1 import (
    Constant,
    Expr,
    ExprCall,
    ExprIdent,
    ExprSelect,
)

from authz.envoy.packing import packed

CLIENT_FIELDS = 100
CLIENT_KIB = 60
_ENVOY_FIELDS = 12
"""Pseudo-headers, ``x-forwarded-*``, ``x-request-id`` and the like."""
_ENVOY_BYTES = 512
_AUTHZ_FIELDS = 16
"""Room for the fields that authz sets."""
_AUTHZ_KIB = 12
"""Room for their values; the longest is a signed token."""

MAX_FIELDS = CLIENT_FIELDS + _ENVOY_FIELDS + _AUTHZ_FIELDS
MAX_KIB = CLIENT_KIB + _AUTHZ_KIB

TOO_LARGE = "headers_too_large"
HTTP_1_0 = "http_1_0_upgrade"


def refuse_early() -> HttpFilter:
    """Return the filter that refuses requests before authz is asked."""
    rbac = RbacFilter(
        rules=Rbac(
            action=RbacAction.DENY,
            policies={TOO_LARGE: _too_large(), HTTP_1_0: _http_1_0_upgrade()},
        )
    )
    return HttpFilter(name="envoy.filters.http.rbac", typed_config=packed(rbac))


def refused_early(policy: str) -> str:
    """Return a CEL expression for the answers to requests of a policy; at first they are 403."""
    return f'response.code_details == "rbac_access_denied_matched_policy[{policy}]"'


def cel(expression: str) -> AccessLogFilter:
    """Match a CEL expression over the request and the answer."""
    return AccessLogFilter(
        extension_filter=ExtensionFilter(
            name="envoy.access_loggers.extension_filters.cel",
            typed_config=packed(ExpressionFilter(expression=expression)),
        )
    )


def _too_large() -> Policy:
    fields = _call("size", _request("headers"))
    size = _request("total_size")
    return Policy(
        permissions=[Permission(any=True)],
        principals=[Principal(any=True)],
        condition=_call(
            "_||_",
            _call("_>_", fields, _constant(CLIENT_FIELDS + _ENVOY_FIELDS)),
            _call("_>_", size, _constant(CLIENT_KIB * 1024 + _ENVOY_BYTES)),
        ),
    )


def _http_1_0_upgrade() -> Policy:
    """Refuse an upgrade in HTTP/1.0, which a proxy in front of Envoy would not see as one."""
    return Policy(
        permissions=[Permission(header=HeaderMatcher(name="upgrade", present_match=True))],
        principals=[Principal(any=True)],
        condition=_call("_==_", _request("protocol"), _constant("HTTP/1.0")),
    )


def _request(field: str) -> Expr:
    request = Expr(ident_expr=ExprIdent(name="request"))
    return Expr(select_expr=ExprSelect(operand=request, field=field))


def _constant(value: int | str) -> Expr:
    if isinstance(value, str):
        return Expr(const_expr=Constant(string_value=value))
    return Expr(const_expr=Constant(int64_value=value))


def _call(function: str, *arguments: Expr) -> Expr:
    return Expr(call_expr=ExprCall(function=function, args=list(arguments)))
