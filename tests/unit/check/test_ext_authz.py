"""authz.check.ext_authz, read and written also with Envoy's own full API (``envoy-data-plane``)."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderMap,
    HeaderValue,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.service.auth.v3 import (
    AttributeContext,
    AttributeContextHttpRequest,
    AttributeContextRequest,
    CheckRequest,
    CheckResponse,
)
from hypothesis import given
from hypothesis import strategies as st

from authz.check import ext_authz
from authz.check.ext_authz import BadCheck, Check, allow, deny, read, unavailable
from authz.check.responses import HttpResponse
from authz.core.decision_types import Allow, FurtherCredential
from authz.core.header_names import AUTHORIZATION, CREDENTIAL_HEADERS, X_API_KEY
from authz.core.rules import Mode
from authz.pb import ext_authz_pb2 as pb
from authz.secret import Secret
from tests.support.checks import allows
from tests.support.identities import identity_of

ALICE = identity_of("Abcdefghi1-Abcdefghijklmnopqrstu2", "alice")
ANSWER = HttpResponse(
    401, (("content-type", "application/json"), ("www-authenticate", "Bearer")), "{}"
)
OVERWRITE = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def _allow(header: str = X_API_KEY, credential: str | None = "sk-1") -> Allow:
    secret = Secret(credential) if credential else None
    return Allow(ALICE, "anthropic", Mode.CENTRALIZED, header, secret, "...", ("x-foo",))


@given(
    _text,
    _text,
    st.lists(st.tuples(_text, st.binary(max_size=30)), max_size=5),
    st.dictionaries(_text, _text, max_size=3),
)
def test_envoys_question_is_read(
    method: str, path: str, headers: list[tuple[str, bytes]], context: dict[str, str]
) -> None:
    """A check is read as Envoy wrote it: order, duplicates and any bytes are kept."""
    http = AttributeContextHttpRequest(
        id="12",
        method=method,
        path=path,
        host="h",
        protocol="HTTP/1.1",
        size=-1,
        header_map=HeaderMap(
            headers=[HeaderValue(key=name, raw_value=value) for name, value in headers]
        ),
    )
    attributes = AttributeContext(
        request=AttributeContextRequest(http=http), context_extensions=context
    )
    check = read(bytes(CheckRequest(attributes=attributes)))
    assert (check.method, check.path) == (method, path)
    assert check.headers == headers
    assert check.context == context
    assert check.query == path.partition("?")[2]


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_header_is_read_or_refused(field: bytes, extension: bytes) -> None:
    """Headers and context extensions are read or refused; a text for a person never raises."""
    check = Check("GET", "/", [field], (extension,))
    for read_it in (lambda: check.headers, lambda: check.context):
        with suppress(BadCheck):
            read_it()
    assert isinstance(check.header("x-request-id"), str)


def test_a_header_is_found_by_its_whole_name() -> None:
    """A header is found by its whole name, not in a value or in a longer name."""
    fields = [
        pb.HeaderValue(key=name, raw_value=value).SerializeToString()
        for name, value in (("a-name", b"1"), ("other", b"name"), ("name", b"2"), ("name", b"3"))
    ]
    check = Check("GET", "/", [b"name", *fields], ())
    assert check.header("name") == "2"
    assert check.header("absent") == ""


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(message: bytes) -> None:
    """Reading any bytes gives a check or raises BadCheck."""
    try:
        check = read(message)
    except BadCheck:
        return
    assert isinstance(check.method, str)


@pytest.mark.parametrize("header", [X_API_KEY, AUTHORIZATION])
def test_envoy_reads_an_allow(header: str) -> None:
    """The credential overwrites its header, and all other credential headers are removed."""
    response = CheckResponse.parse(allow(_allow(header), {"user": "alice"}))
    assert response.status is not None
    assert response.status.code == 0
    assert response.ok_response is not None
    (option,) = response.ok_response.headers
    assert option.header is not None
    assert (option.header.key, option.header.value) == (header, "sk-1")
    assert option.header.raw_value == b""
    assert option.append_action == OVERWRITE
    removed = response.ok_response.headers_to_remove
    assert header not in removed
    assert {*removed, header} == {*CREDENTIAL_HEADERS, "x-foo"}
    assert response.denied_response is None
    assert response.dynamic_metadata is not None
    assert response.dynamic_metadata.to_dict() == {"user": "alice"}


def test_no_credential_at_all() -> None:
    """If the provider needs no credential, or Envoy signs, every credential header is removed."""
    decision = replace(_allow(), header=None, credential=None, query=("key", "access_token"))
    response = CheckResponse.parse(allow(decision, {}))
    assert response.ok_response is not None
    assert response.ok_response.headers == []
    assert {*CREDENTIAL_HEADERS} <= {*response.ok_response.headers_to_remove}
    assert response.ok_response.query_parameters_to_remove == ["key", "access_token"]


def test_an_own_credential_is_left_as_it_came() -> None:
    """If authz adds no credential, it sets no header and keeps the user's own."""
    response = CheckResponse.parse(allow(_allow(AUTHORIZATION, None), {}))
    assert response.ok_response is not None
    assert response.ok_response.headers == []
    assert AUTHORIZATION not in response.ok_response.headers_to_remove
    assert X_API_KEY in response.ok_response.headers_to_remove


def test_envoy_reads_a_refusal() -> None:
    """Status, headers and body stand where Envoy looks for them."""
    response = CheckResponse.parse(deny(ANSWER, {"reason": "x"}))
    assert response.status is not None
    assert response.status.code == 7
    denied = response.denied_response
    assert denied is not None
    assert denied.status is not None
    assert denied.status.code == 401
    assert denied.body == "{}"
    options = [(o.header.key, o.header.value) for o in denied.headers if o.header]
    assert options == list(ANSWER.headers)
    assert {option.append_action for option in denied.headers} == {OVERWRITE}
    assert response.ok_response is None


def test_envoy_reads_that_nothing_can_be_decided() -> None:
    """The 503 is an error response, with the code of UNAVAILABLE."""
    answer = HttpResponse(503, (("retry-after", "2"),), "{}")
    response = CheckResponse.parse(unavailable(answer, {}))
    assert response.status is not None
    assert response.status.code == 14
    assert response.error_response is not None
    assert response.error_response.status is not None
    assert response.error_response.status.code == 503
    assert response.denied_response is None
    assert response.ok_response is None


@given(
    st.integers(min_value=0, max_value=599),
    st.lists(st.tuples(_text, _text), max_size=3),
    _text,
    st.dictionaries(_text, _text, max_size=3),
)
def test_only_allow_allows(
    status: int, headers: list[tuple[str, str]], body: str, metadata: dict[str, str]
) -> None:
    """No refusal has the status 0, which lets a request pass, whatever its content."""
    answer = HttpResponse(status, tuple(headers), body)
    assert not allows(deny(answer, metadata))
    assert not allows(unavailable(answer, metadata))
    assert allows(allow(_allow(), metadata))


def test_nothing_but_allow_builds_an_ok_response() -> None:
    """In the whole product there is one place that writes status 0."""
    product = Path(ext_authz.__file__).parent
    holding = [
        path.relative_to(product).as_posix()
        for path in product.rglob("*.py")
        if "CheckResponse(" in path.read_text()
    ]
    assert sorted(holding) == ["ext_authz.py"]
    assert Path(ext_authz.__file__).read_text().count("status=pb.Status(code=_OK)") == 1


def test_the_service_has_envoys_name() -> None:
    """The method's path is the one that Envoy calls."""
    service = pb.DESCRIPTOR.services_by_name["Authorization"]
    (method,) = service.methods
    assert f"/{service.full_name}/{method.name}" == ext_authz.METHOD
    assert ext_authz.METHOD == "/envoy.service.auth.v3.Authorization/Check"


@given(st.binary(max_size=60))
def test_nothing_is_added_to_what_is_no_answer(message: bytes) -> None:
    """Adding to bytes that are not a finished response is an error: they could be an allow."""
    metadata_alone = pb.CheckResponse(dynamic_metadata={"fields": {}}).SerializeToString()
    for unfinished in (b"", metadata_alone, message if message[:1] != b"\n" else b""):
        answer = ext_authz.FinishedResponse(unfinished)
        with pytest.raises(ValueError, match="not a finished response"):
            ext_authz.with_path(answer, "/")
        with pytest.raises(ValueError, match="not a finished response"):
            ext_authz.with_path_and_id(answer, "/", b"0" * ext_authz.ENTRY_ID_LENGTH)
        with pytest.raises(ValueError, match="not a finished response"):
            ext_authz.with_appended(answer, [("anthropic-beta", "x")], ext_authz.read(b""))


def test_an_answer_without_a_status_is_not_written() -> None:
    """A response without a status is not written, because Envoy would take it for an allow."""
    with pytest.raises(ValueError, match="would mean allow"):
        ext_authz._finished(pb.CheckResponse(denied_response=pb.DeniedHttpResponse()), {})


def test_what_is_added_leaves_the_decision() -> None:
    """Adding a path and an entry id does not change the decision."""
    number = b"0" * ext_authz.ENTRY_ID_LENGTH
    for answer, is_allow in (
        (allow(_allow(), {}), True),
        (deny(ANSWER, {}), False),
        (unavailable(ANSWER, {}), False),
    ):
        added = ext_authz.with_path_and_id(answer, "/x", number)
        assert allows(added) is is_allow
        assert ext_authz.metadata_of(added) == {"path": "/x", "entry": number.decode()}


def test_an_envoy_before_1_37() -> None:
    """Envoy before 1.37 has no error_response, so it gets a 503 as a refusal, not as an allow."""
    response = unavailable(ANSWER, {}, external=True)
    assert not allows(response)
    read_back = CheckResponse.parse(response)
    assert read_back.error_response is None
    assert read_back.denied_response is not None
    assert read_back.denied_response.body == ANSWER.body
    assert read_back.status is not None
    assert read_back.status.code == 14


def test_long_facts_are_read_and_not_cached() -> None:
    """Facts that contain names chosen by a client are not cached."""
    before = ext_authz._cached_context.cache_info().currsize
    entry = pb.ContextExtension(key="removed", value="x" * 5000).SerializeToString()
    assert ext_authz.read_context((entry,)) == {"removed": "x" * 5000}
    assert ext_authz._cached_context.cache_info().currsize == before


def test_further_keys_are_in_no_text() -> None:
    """The answer has the number of retries and their keys, but no text for a log has a key."""
    key = "sk-ant-further-0123456789"
    further = (FurtherCredential(Secret(key), "sk-a...6789", 1),)
    answer = allow(replace(_allow(), further=further, further_header=X_API_KEY), {})
    assert ext_authz.metadata_of(answer) == {"retries": "1", "retry_statuses": "401,429,529"}
    fields = pb.CheckResponse.FromString(answer).dynamic_metadata.fields
    values = [one.string_value for one in fields["further_keys"].list_value.values]
    assert values == [X_API_KEY, "anthropic", "1", "sk-a...6789", key]
    assert key not in repr(further)
    with pytest.raises(ValueError, match="without a header"):
        allow(replace(_allow(), further=further), {})


def test_a_request_that_begins_at_a_fallback_provider() -> None:
    """The answer has the destination, no credential, and one retry less than it has keys."""
    other = "backup https://example.com/"
    further = tuple(FurtherCredential(Secret(f"sk-{n}"), "...", None, other) for n in range(2))
    begun = replace(_allow(), header=None, credential=None, further=further)
    answer = allow(replace(begun, further_header=X_API_KEY), {})
    assert ext_authz.metadata_of(answer)["first_provider"] == other
    assert ext_authz.metadata_of(answer)["retries"] == "1"
    assert not list(pb.CheckResponse.FromString(answer).ok_response.headers)
    alone = allow(replace(begun, further=further[:1], further_header=X_API_KEY), {})
    assert set(ext_authz.metadata_of(alone)) == {"first_provider"}
