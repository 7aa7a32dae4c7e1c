"""The HTTP side: health now, later metrics and tokens."""
