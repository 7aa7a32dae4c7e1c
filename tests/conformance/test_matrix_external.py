"""The request matrix through an external gateway's check, compared with our own Envoy's."""

import asyncio
import itertools

import pytest

from authz.check.authorizer import Authorizer
from authz.config.external_gateways import Secrets
from authz.config.settings import Config
from authz.core.header_names import is_removed
from authz.core.identity import Rejection
from authz.external.reader import ExternalReader
from authz.keys.pool import KeyPool
from authz.pb import ext_authz_pb2 as pb
from authz.secret import Secret
from tests.conformance.expected import TYPES, Forwarded, cells, expected
from tests.conformance.values import Values
from tests.support.checks import answer, question
from tests.support.external_checks import external_question
from tests.support.identities import InMemoryIdentities
from tests.support.pair import CENTRAL_KEYS

VALUES = Values.made_up()
PATHS = {name: f"/{name}/v1/models" for name in TYPES} | {"copilot": "/copilot/models"}


class _Key:
    def __init__(self, text: str) -> None:
        self._key = Secret(text)

    def current(self) -> Secret:
        return self._key


def _authorizers(*, byok: bool) -> tuple[Authorizer, Authorizer]:
    """Return an authorizer for our own Envoy, and one for external gateways."""
    routes = [{"httproute": f"ai/{name}", "path": f"/{name}", "provider": name} for name in TYPES]
    # With usage records, Accept-Encoding is removed, too.
    values = {"external_gateways": {"routes": routes}, "usage": {"enabled": False}}
    config = Config.model_validate(values | {"allow_byok": byok})
    rejections = {"expired": Rejection.EXPIRED, "deleted": Rejection.UNKNOWN}
    known = {text: rejections.get(kind, kind) for kind, text in VALUES.tokens.items()}
    keys = {
        name: KeyPool(name, [_Key(text)], has_cooldown=False) for name, text in CENTRAL_KEYS.items()
    }
    source = InMemoryIdentities(known)
    reader = ExternalReader(config, Secrets(None, None))
    return Authorizer(config, source, keys), Authorizer(config, source, keys, reader=reader)


def _comparable(message: bytes) -> tuple[pb.CheckResponse, set[str]]:
    """Return a response without its entry id, and the headers that it removes."""
    response = answer(message)
    response.dynamic_metadata.fields["entry"].string_value = ""
    removed = set(response.ok_response.headers_to_remove)
    if response.HasField("ok_response"):
        del response.ok_response.headers_to_remove[:]
    return response, removed


@pytest.mark.parametrize(("name", "byok"), list(itertools.product(TYPES, (True, False))))
def test_every_cell(name: str, byok: bool) -> None:
    """An external gateway gets the answer that our own Envoy gets, for every combination."""
    own, external = _authorizers(byok=byok)
    provider = next(one for one in Config().providers if one.name == name)
    context = {"provider": name, "base_url": str(provider.base_url), "supported": "true"}
    chosen = [cell for cell in cells() if (cell.provider, cell.byok) == (name, byok)]
    assert len(chosen) == 343
    request_id = [("x-request-id", "8a2c1b1a-1111-4111-8111-111111111111")]
    for cell in chosen:
        headers = list(VALUES.headers(cell).items())
        path = PATHS[name]
        asked = question([*headers, *request_id], context, "GET", path)
        theirs = external_question(headers, method="GET", path=path, httproute=f"ai/{name}")
        ours, removed = _comparable(asyncio.run(own.check(asked)))
        response, removed_too = _comparable(asyncio.run(external.check(theirs)))
        assert response == ours, cell.name
        assert removed <= removed_too, cell.name
        assert all(map(is_removed, removed_too - removed)), cell.name
        assert isinstance(expected(cell), Forwarded) is (ours.status.code == 0)
