"""Central provider keys: where they come from, and the pool of one provider."""
