"""``authz up``: the pair on one machine, from the first check of the ports to the last drain."""
