"""``gateway.yaml``: its sections, loading, checking, and what a reload may change."""
