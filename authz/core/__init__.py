"""The rules, pure: decides whether a request may pass, and with which provider credential.

No I/O, no protobuf, no framework: inputs and decisions are data.
"""
