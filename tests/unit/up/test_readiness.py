"""authz.up.readiness: the fingerprint in Prometheus text."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from authz.metrics import Metrics
from authz.up.readiness import parse_fingerprint


def test_the_fingerprint_of_real_metrics() -> None:
    """The text that authz itself serves has the fingerprint that was set."""
    metrics = Metrics()
    metrics.loaded(12_345_678)
    assert parse_fingerprint(metrics.text().decode()) == 12_345_678


@given(st.lists(st.integers(0, 2**53), max_size=4), st.text(max_size=20))
def test_all_workers_have_to_agree(values: list[int], label: str) -> None:
    """The fingerprint counts once all samples are the same, whatever their labels are."""
    registry = CollectorRegistry()
    gauge = Gauge("authz_config_hash", "x", ["pid", "more"], registry=registry)
    Gauge("authz_config_hash_other", "x", registry=registry).set(1)
    for number, value in enumerate(values):
        gauge.labels(str(number), label).set(value)
    found = parse_fingerprint(generate_latest(registry).decode())
    assert found == (values[0] if len(set(values)) == 1 else None)


@given(st.text())
def test_any_other_text_has_none(text: str) -> None:
    """Text that is not Prometheus text gives no fingerprint and no error."""
    assert parse_fingerprint(f"<html>{text}") is None
