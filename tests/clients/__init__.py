"""Real clients, headless, against the stand-in through the real pair: ``make test-clients``."""
