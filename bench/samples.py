"""What a run finds: samples by variant and phase, streams, memory, and what was left out."""

from dataclasses import dataclass, field

from bench.streams import Outcome

BUSY = "busy"
"""The phase in which every connection is kept busy; the others are called by their rate."""
RATES = (200, 1000)
SLOW_RATE = 20
"""For peers that can't do all of ``RATES``."""


@dataclass(frozen=True)
class Options:
    """How long, how often, how many."""

    seconds: float = 2.5
    rounds: int = 4
    connections: int = 32
    stream_rounds: int = 2


@dataclass(frozen=True)
class Sample:
    """One measurement of one variant.

    Attributes:
        cpu_us: CPU per request of each of the variant's processes.
        others: CPU of the machine that was spent on nothing of ours, of one core.
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
        memory_mb: the most that each process had meanwhile.
    """

    outcome: Outcome
    cpu_us: float
    memory_mb: dict[str, float]


@dataclass
class Measured:
    """All that a run has found.

    Attributes:
        samples: by variant, the rounds in order.
        ceiling: requests per second of the generator and the provider alone, by round.
        memory_mb: by variant and process, before any load and after the requests.
        streams: by variant, the rounds in order.
        direct_streams: straight from the provider, by round.
        titles: by variant, with what only the run knows, such as versions.
        left_out: by title, why a peer is not in the report.
    """

    samples: dict[str, list[Sample]]
    ceiling: list[float] = field(default_factory=list)
    memory_mb: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    streams: dict[str, list[StreamSample]] = field(default_factory=dict)
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
