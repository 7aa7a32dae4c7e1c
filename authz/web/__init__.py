"""The HTTP side: health, metrics, the token API and the page."""
