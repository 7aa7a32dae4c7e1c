"""Settings of what a revocation does to requests in progress."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from authz.config.fields import Seconds, Section


class Revocation(Section):
    """Settings for WebSockets, streamed answers and tunnels that are open at a revocation.

    Attributes:
        end_streams: end them within 2 seconds after the token, its user or a rule has changed.
        unwatched: what happens to open streams when their authz process stops: ``keep`` lets them
            go on, without an end by a revocation; ``cut`` ends them.
        coder_interval: the time after which Coder's API is asked again about each token with open
            streams.
    """

    end_streams: StrictBool = False
    unwatched: Literal["keep", "cut"] = "keep"
    coder_interval: Annotated[Seconds, Field(ge=1)] = 60
