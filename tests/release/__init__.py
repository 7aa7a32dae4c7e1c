"""Checks of a release, run by ``make release-check``."""
