"""What the applications of the HTTP side share."""

from starlette.applications import Starlette


def without_slash_redirects(app: Starlette) -> Starlette:
    """Return the application, to which a path with a slash too many is an unknown one.

    Starlette's own answer is a redirect to a whole URL, of the scheme and ``Host`` that reached
    this process: behind TLS that would send a client on, and a password with it, without TLS.
    """
    app.router.redirect_slashes = False
    return app
