"""Notices to the receiver of a webhook: signed, sent again until they arrive, each one once."""
