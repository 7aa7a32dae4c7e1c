"""nginx with ``auth_request``, which asks an authenticator in Python over a Unix socket."""

import os
import shutil
import subprocess
from pathlib import Path

from bench.install import debian
from bench.peers.python import uvicorn
from bench.variants import Running
from bench.world import World
from tests.support.ports import free_port

_CONFIG = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
{user}
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log /dev/null;
    client_body_buffer_size 256k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream anthropic {{
        server 127.0.0.1:{provider};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    upstream streaming {{
        server 127.0.0.1:{streaming};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    upstream authenticator {{
        server unix:{socket};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    proxy_http_version 1.1;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
{locations}
        location = /authenticate {{
            internal;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_pass_request_body off;
            proxy_pass http://authenticator;
        }}
    }}
}}
"""
_LOCATION = """\
        location /{name}/ {{
            auth_request /authenticate;
            auth_request_set $provider_key $upstream_http_x_provider_key;
            proxy_set_header Connection "";
            proxy_set_header Authorization "";
            proxy_set_header X-Api-Key $provider_key;
            proxy_buffering off;
            proxy_read_timeout 600s;
            proxy_pass http://{name};
        }}"""


def begin(world: World, name: str) -> Running:
    """Start nginx with one worker, and the authenticator."""
    program = shutil.which("nginx") or debian("nginx", ["nginx"]) / "usr" / "sbin" / "nginx"
    folder, port = world.folder / name, free_port()
    folder.mkdir(exist_ok=True)
    socket = folder / "authenticator.sock"
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            # Started by root, nginx would make its worker another user, who may not use the socket.
            user="user root;" if os.geteuid() == 0 else "",
            folder=folder,
            provider=world.upstream_port,
            streaming=world.streaming_port,
            socket=socket,
            port=port,
            locations="\n".join(_LOCATION.format(name=name) for name in ("anthropic", "streaming")),
        )
    )
    authenticator = uvicorn(world, name, "authenticator", "authenticator", ["--uds", socket])
    command: list[str | Path] = [program, "-p", folder, "-c", config, "-e", "stderr"]
    nginx = world.start(name, "nginx", command)
    processes = {"nginx": nginx, "authenticator": authenticator}
    return Running(port, processes, detail=_version(program))


def _version(program: str | Path) -> str:
    printed = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr
    return printed.strip().rpartition(": ")[2]
