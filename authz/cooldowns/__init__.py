"""Refused central keys, of which all authz processes tell each other."""
