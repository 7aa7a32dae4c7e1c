"""Build the HTTP application: health, metrics, the token API and the pages."""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from authz.config.proxy import Proxy
from authz.core.identity import IdentitySource
from authz.metrics import CONTENT_TYPE, Metrics
from authz.web.pages.responses import BASE, see
from authz.web.readiness import Readiness
from authz.web.routing import without_slash_redirects


def create_app(
    source: IdentitySource,
    metrics: Metrics,
    proxy: Proxy | None = None,
    api: Starlette | None = None,
    pages: Starlette | None = None,
    notice: Callable[[], str | None] = lambda: None,
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """Build the application. The service starts it after gRPC and stops it before gRPC.

    ``GET /healthz`` returns 200 while the process runs. ``GET /readyz`` returns 200 while the
    identity source can decide checks, else 503; the result may be a second old. Both have an empty
    body, as in Coder. ``GET /metrics`` is for Prometheus; the gateway listener has no route to it.

    Args:
        source: the identity source, for ``/readyz``.
        metrics: the metrics, for ``/metrics``.
        proxy: has the CA certificate to serve.
        api: the token API, for ``/api/v2``.
        pages: the pages, for ``/ui``.
        notice: returns the body of a 200 from ``/readyz``, such as that usage is not written.
        routes: those of capabilities that are switched on.
    """
    readiness = Readiness(source)

    async def healthz(_request: Request) -> Response:
        return Response()

    async def readyz(_request: Request) -> Response:
        if not await readiness.get():
            return Response(status_code=503, headers={"retry-after": "1"})
        text = notice()
        return PlainTextResponse(text) if text else Response()

    async def metrics_text(_request: Request) -> Response:
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    # Not async, so that Starlette reads the file in a thread and other requests do not wait.
    def ca_certificate(_request: Request) -> Response:
        """Return the first certificate of the file, as Coder does."""
        if proxy is None:
            return Response(status_code=404)
        # Imported late: cryptography takes 8 MB, and only the proxy needs it.
        from cryptography import x509

        from authz.certificates.ca import certificate_pem

        first = x509.load_pem_x509_certificates(proxy.ca.cert_file.read_bytes())[0]
        return Response(
            certificate_pem(first),
            media_type="application/x-pem-file",
            headers={"content-disposition": "attachment; filename=ca-cert.pem"},
        )

    async def to_pages(_request: Request) -> Response:
        return see("/")

    app = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics_text),
            Route("/proxy/ca-cert.pem", ca_certificate),
            *routes,
            *([Mount("/api/v2", app=api)] if api else []),
            *([Route(BASE, to_pages), Mount(BASE, app=pages)] if pages else []),
        ],
        exception_handlers={HTTPException: _on_http_error},
    )
    return without_slash_redirects(app)


async def _on_http_error(_request: Request, error: Exception) -> Response:
    """Return the error for an unknown path or method, in the form of RFC 6749 section 5.2."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered only for it
    body = {"error": "invalid_request", "error_description": f"{error.detail}."}
    headers = {**(error.headers or {}), "cache-control": "no-store"}
    return JSONResponse(body, error.status_code, headers=headers)
