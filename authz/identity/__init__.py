"""Sources of identity, one file each, and the project's own store of users and tokens."""
