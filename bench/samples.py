"""Results of a run: samples by variant and phase, streams, memory, and omitted variants."""

from dataclasses import dataclass, field

from bench.streams import Outcome

BUSY = "busy"
"""The phase in which every connection is kept busy; the others are called by their rate."""
FIXED, STREAMS, REALISTIC = "fixed rates", "streams", "realistic requests"
EVERYTHING = frozenset({BUSY, FIXED, STREAMS, REALISTIC})
"""The parts of a run; a variant names those that it takes part in."""
RATES = (200, 1000)
SLOW_RATE = 20
"""For peers that can't do all of ``RATES``."""


@dataclass(frozen=True)
class Options:
    """The length, repetitions and concurrency of measurements."""

    seconds: float = 2.5
    rounds: int = 4
    connections: int = 32
    stream_rounds: int = 2
    realistic_rounds: int = 3


@dataclass(frozen=True)
class Sample:
    """One measurement of one variant.

    Attributes:
        cpu_us: CPU per request of each of the variant's processes.
        others: CPU that other processes of the machine used, in cores.
    """

    phase: str
    requests_per_second: float
    cpu_us: dict[str, float]
    generator_us: float
    others: float
    latencies_ms: dict[str, float] = field(default_factory=dict)
    late_ms: dict[str, float] = field(default_factory=dict)

    @property
    def total_us(self) -> float:
        """CPU per request of the variant as a whole; never 0, since ratios are taken of it.

        The kernel counts in 10 ms: in a run of some milliseconds it may see nothing at all.
        """
        return max(sum(self.cpu_us.values()), 1e-3)


@dataclass(frozen=True)
class StreamSample:
    """One variant with all streams open.

    Attributes:
        cpu_us: CPU per event, of all of the variant's processes.
        request_us: CPU per request, by process.
        memory_mb: the most that each process had meanwhile.
    """

    outcome: Outcome
    cpu_us: float
    memory_mb: dict[str, float]
    request_us: dict[str, float] = field(default_factory=dict)


@dataclass
class Measured:
    """All that a run has found.

    Attributes:
        samples: by variant, the rounds in order.
        ceiling: requests per second of the generator and the provider alone, by round.
        memory_mb: by variant and process, before any load and after the requests.
        streams: by variant, the rounds in order.
        realistic: realistic requests by variant, the rounds in order.
        direct_streams: straight from the provider, by round.
        titles: by variant, with what only the run knows, such as versions.
        left_out: by title, why a peer is not in the report.
    """

    samples: dict[str, list[Sample]]
    ceiling: list[float] = field(default_factory=list)
    memory_mb: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    streams: dict[str, list[StreamSample]] = field(default_factory=dict)
    realistic: dict[str, list[StreamSample]] = field(default_factory=dict)
    direct_streams: list[Outcome] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def of(self, variant: str, phase: str) -> list[Sample]:
        """Return a variant's samples of one phase, by round."""
        return [sample for sample in self.samples[variant] if sample.phase == phase]

    def phases(self) -> list[str]:
        """Return the rates that anything was measured at, slowest first."""
        found = {sample.phase for samples in self.samples.values() for sample in samples}
        return [str(rate) for rate in sorted(int(phase) for phase in found - {BUSY})]
