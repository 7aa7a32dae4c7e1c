"""Tests of the container image and of docker-compose.yml on a real Docker engine.

``python -m tests.containers COMMAND`` finds or starts an engine, provides Compose and base images,
runs the command with what it needs in its environment, and ends what it started.
"""
