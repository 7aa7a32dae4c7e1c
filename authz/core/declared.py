"""The part of a request's body or path that says which model answers it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeclaredRequest:
    """The declaration of a request, as Envoy reads it. The client can write into it what it likes.

    Attributes:
        model: its name; empty where no model answers or ``problem`` says why it is not known.
        problem: a sentence for the person at the client; empty if there is no problem.
        max_output_tokens: the limit that the request sets, for all of its responses together;
            None without one that Envoy can read.
        input_bytes: the size of the body; None where Envoy does not read it.
    """

    model: str = ""
    problem: str = ""
    max_output_tokens: int | None = None
    input_bytes: int | None = None


NO_MODEL = DeclaredRequest()
"""A request that no model answers."""
