"""What the pair costs, measured on the machine at hand; ``bench/README.md`` says how to read it."""
