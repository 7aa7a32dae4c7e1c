"""Tests of authz.cli."""
