"""The filters that read which model a request asks for, in front of the check.

They are off except on the routes of providers with rules for models or strict budgets. There Envoy
holds a request in memory until its last byte has come, so another filter limits its size.
"""

from typing import Any as Anything

from envoy_data_plane.envoy.config.route.v3 import FilterConfig
from envoy_data_plane.envoy.extensions.filters.http.header_to_metadata.v3 import (
    Config as HeaderToMetadata,
)
from envoy_data_plane.envoy.extensions.filters.http.header_to_metadata.v3 import (
    ConfigKeyValuePair,
    ConfigRule,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute
from envoy_data_plane.google.protobuf import Any

from authz.check.declared import (
    ABSENT,
    BODY_NAMESPACE,
    FIELDS,
    FIELDS_NAMESPACE,
    PATH_KEY,
    PATH_NAMESPACE,
)
from authz.config.settings import Config
from authz.core.providers import AllowedPath, ModelPlace
from authz.core.request_apis import OutputLimit, RequestApi
from authz.envoy.packing import packed, regex
from authz.envoy.typed_struct import typed_struct

BODY_SIZE = "envoy.filters.http.body_size_limit"
BODY_MODEL = "envoy.filters.http.ai_protocol_manager.request"
BODY_FIELDS = "envoy.filters.http.json_to_metadata"
PATH_MODEL = "envoy.filters.http.header_to_metadata"

MIB = 1 << 20
_SIZE_LIMIT = "envoy.extensions.filters.http.body_size_limit.v3.BodySizeLimit"
_MANAGER = "envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManager"
_REQUEST_INFO = "envoy.extensions.http.ai_filters.request_info.v3.RequestInfo"
_JSON_FIELDS = "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata"
# A token has at least one byte.
_TOKENS_PER_BYTE = 1.0


def request_models(config: Config) -> list[HttpFilter]:
    """Return the filters, in front of the one that asks authz."""
    info = {
        "@type": f"type.googleapis.com/{_REQUEST_INFO}",
        "token_estimation": {"tokens_per_byte": _TOKENS_PER_BYTE},
    }
    manager = {
        # The provider gets the bytes of the client.
        "request_handling": {"reserialize_body": "DISABLE"},
        "filters": [{"name": BODY_NAMESPACE, "typed_config": info}],
    }
    limit = {"max_request_bytes": config.envoy.max_body_mib * MIB}
    is_strict = config.budgets is not None and config.budgets.strict
    return [
        HttpFilter(name=BODY_SIZE, typed_config=typed_struct(_SIZE_LIMIT, limit), disabled=True),
        HttpFilter(name=BODY_MODEL, typed_config=typed_struct(_MANAGER, manager), disabled=True),
        *([_body_fields()] if is_strict else []),
        HttpFilter(name=PATH_MODEL, typed_config=packed(HeaderToMetadata()), disabled=True),
    ]


def reads_model(path: AllowedPath, api: RequestApi | None, *, strict: bool) -> dict[str, Any]:
    """Return what switches the filters on for a path of a provider.

    Args:
        path: with methods that do not differ in the model.
        api: the API of the path, if it is one that Envoy knows.
        strict: whether budgets need more than the model.
    """
    found = {}
    if path.model is ModelPlace.PATH:
        found[PATH_MODEL] = packed(HeaderToMetadata(request_rules=[_cut(path.model_in_path)]))
    if path.model in (ModelPlace.BODY, ModelPlace.OPTIONAL) or (strict and path.model_in_path):
        protocol = api.protocol if api is not None and strict else "LLM_PROTOCOL_UNSPECIFIED"
        # An empty configuration is that of the filter.
        found[BODY_SIZE] = packed(FilterConfig(config=Any()))
        request = {"request": {"llm_protocol": protocol}}
        found[BODY_MODEL] = typed_struct(f"{_MANAGER}PerRoute", request)
        if strict and api is not None and api.limit is OutputLimit.FIELDS:
            found[BODY_FIELDS] = packed(FilterConfig(config=Any()))
    return found


def _body_fields() -> HttpFilter:
    """Read the fields that multiply a response, and limits that have two names.

    The filter of the model reads neither. This one parses the body once more, and holds several
    times its size meanwhile.
    """
    rules = [
        {
            "selectors": [{"key": key} for key in keys],
            "on_present": {"metadata_namespace": FIELDS_NAMESPACE, "key": ".".join(keys)},
            "on_missing": {
                "metadata_namespace": FIELDS_NAMESPACE,
                "key": ".".join(keys),
                "value": ABSENT,
            },
        }
        for keys in FIELDS
    ]
    values: dict[str, Anything] = {
        "request_rules": {
            "rules": rules,
            # authz refuses all others.
            "allow_content_types_regex": {"regex": r"(?i)application/(?:[a-z0-9.-]+\+)?json.*"},
        }
    }
    return HttpFilter(
        name=BODY_FIELDS, typed_config=typed_struct(_JSON_FIELDS, values), disabled=True
    )


def _cut(pattern: str) -> ConfigRule:
    """Cut the model out of the path; a path that does not match stays whole, with its slashes."""
    rewrite = RegexMatchAndSubstitute(
        pattern=regex(rf"^[^?]*{pattern}[^?]*(?:\?.*)?$"), substitution=r"\1"
    )
    return ConfigRule(
        header=":path",
        on_header_present=ConfigKeyValuePair(
            metadata_namespace=PATH_NAMESPACE, key=PATH_KEY, regex_value_rewrite=rewrite
        ),
    )
