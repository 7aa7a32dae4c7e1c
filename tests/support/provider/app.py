"""Build the demo's application with what only tests need."""

from collections.abc import Mapping
from types import MappingProxyType

from starlette.applications import Starlette
from starlette.middleware import Middleware

from authz.demo import accounts, app
from tests.support.provider.faults import FaultMiddleware
from tests.support.provider.recording import Observer, RecordingMiddleware
from tests.support.provider.refusals import RefusalMiddleware
from tests.support.provider.routes import ROUTES
from tests.support.provider.uploads import UploadMiddleware


def create_app(
    accounts: accounts.Accounts,
    *,
    observer: Observer | None = None,
    chunk_delay: float = 0.02,
    refused: Mapping[str, int] = MappingProxyType({}),
    retry_after: int = 7,
) -> Starlette:
    """Return the stand-in for tests.

    Args:
        accounts: the providers to imitate and the credentials they accept.
        observer: called with every request, rejected ones included, before its body is read.
        chunk_delay: seconds between two pieces of a streamed answer.
        refused: keys that are refused, with the status for each; a test may change it.
        retry_after: the seconds in the 429 for such a key.
    """
    middleware = [Middleware(FaultMiddleware), Middleware(UploadMiddleware)]
    made = app.create_app(accounts, chunk_delay=chunk_delay, routes=ROUTES, middleware=middleware)
    made.add_middleware(RefusalMiddleware, accounts, refused, retry_after)
    if observer is not None:
        made.add_middleware(RecordingMiddleware, accounts, observer)
    return made
