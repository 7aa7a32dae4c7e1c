"""The encodings in which a secret could be leaked by mistake."""

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote


def spellings(secret: str, *, halves: bool = False) -> Iterator[bytes]:
    """Yield a secret as it is and encoded, each long enough not to occur by chance.

    Args:
        secret: the text.
        halves: whether a half of it counts, too, as for the random part of a token.
    """
    texts = [secret, secret[::-1]]
    if halves:
        middle = len(secret) // 2
        texts += [secret[:middle], secret[middle:], secret[:middle][::-1], secret[middle:][::-1]]
    for text in texts:
        data = text.encode()
        yield data
        yield data.hex().encode()
        yield "".join(f"%{byte:02X}" for byte in data).encode()
        yield quote(text, safe="").encode()
        yield json.dumps(text)[1:-1].encode()
        yield from _base64(data)


def _base64(data: bytes) -> Iterator[bytes]:
    # Where it stands in what is encoded decides how it looks; its ends depend on its neighbours.
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data)
        inner = encoded[4 if before else 0 : -4]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))
