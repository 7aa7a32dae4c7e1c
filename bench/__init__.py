"""Measurements of what the pair costs on this machine; ``bench/README.md`` says how to read it."""
