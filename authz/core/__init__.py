"""The rules, pure: who may pass, and with which provider credential.

No I/O, no protobuf, no framework. Facts come in and decisions go out, as data.
"""
