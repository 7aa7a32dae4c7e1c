"""``gateway.yaml``: its sections, loading, checking, and the settings that a reload can change."""
