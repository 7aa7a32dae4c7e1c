"""Compares the decisions of this checkout with those of an earlier commit."""
