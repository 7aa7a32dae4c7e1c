"""The bundle of CAs for clients that replace their own roots by the file they are given."""

from pathlib import Path

from authz.files import write_whole


def write_bundle(path: Path, cert_file: Path, roots: Path) -> bool:
    """Write the roots of this system and the proxy's CA into one file, unless it is there already.

    With the proxy's CA alone a client could not verify the hosts that are tunnelled, since their
    certificates are their own.

    Args:
        path: the bundle.
        cert_file: the proxy's CA, PEM.
        roots: the trusted roots of this system, PEM.

    Returns:
        Whether the system has roots; the bundle holds the proxy's CA in any case.

    Raises:
        OSError: the CA can't be read, or the bundle not be written.
    """
    own = cert_file.read_text()
    try:
        public = roots.read_text()
    except OSError:
        public = ""
    text = f"{public.rstrip()}\n{own}" if public else own
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, text)
    return bool(public)
