"""The fields of a request in the access log that a gateway sends to authz."""

from authz.usage.names import LOG_ENTRY

_FILTER = "envoy.filters.http.ext_authz"
"""The namespace of authz's metadata in every Envoy."""

LOG_FIELDS = {
    LOG_ENTRY: f"%DYNAMIC_METADATA({_FILTER}:entry)%",
    "status": "%RESPONSE_CODE%",
    "duration_ms": "%DURATION%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "content_encoding": "%RESP(CONTENT-ENCODING):64%",
}
"""The attributes of a record, by name."""


def has_entry(attributes: object) -> bool:
    """Return whether the attributes of a log have the id of authz."""
    return isinstance(attributes, dict) and attributes.get(LOG_ENTRY) == LOG_FIELDS[LOG_ENTRY]
