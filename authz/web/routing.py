"""Configure routing for all HTTP applications."""

from starlette.applications import Starlette


def without_slash_redirects(app: Starlette) -> Starlette:
    """Return the application, which now returns 404 for a path with an extra slash.

    By default Starlette redirects to an absolute URL with the scheme of its own connection. Where
    Envoy terminates TLS, a client would follow it without TLS and could send a password in clear.
    """
    app.router.redirect_slashes = False
    return app
