"""Tests of authz.open_streams."""
