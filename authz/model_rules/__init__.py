"""Rules that say which models a user, a group or a token may use."""
