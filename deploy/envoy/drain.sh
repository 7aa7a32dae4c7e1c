#!/bin/bash
# Waits until the open requests of an Envoy are finished. Run it before SIGTERM, which cuts them.
#
# Kubernetes runs it as preStop, Compose as pre_stop. Envoy's image has bash and no HTTP client.
#
#   ENVOY_ADMIN_PORT   port of the admin interface on 127.0.0.1 (9901)
#   DRAIN_SECONDS      longest wait for open requests (3600)
#   DRAIN_MIN_SECONDS  shortest wait: a load balancer needs time to notice (10)
set -u
port=${ENVOY_ADMIN_PORT:-9901}
deadline=$((SECONDS + ${DRAIN_SECONDS:-3600}))
earliest=$((SECONDS + ${DRAIN_MIN_SECONDS:-10}))

ask() { # METHOD PATH: print the answer; fails when Envoy does not answer
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
    printf '%s %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n' "$1" "$2" >&3
    local line
    while IFS= read -r line <&3; do printf '%s\n' "${line%$'\r'}"; done
    exec 3>&-
}

open_requests() { # print the number of open client requests
    local name value sum=0
    while IFS=': ' read -r name value; do
        case $name in
        # An idle tunnel of the proxy would delay the stop to its limit. Requests in an intercepted
        # tunnel are counted by the listener that handles them.
        http.admin.* | http.proxy.* | http.metrics.*) ;;
        http.*.downstream_rq_active) sum=$((sum + value)) ;;
        esac
    done < <(ask GET '/stats?filter=downstream_rq_active$')
    echo "$sum"
}

{ ask POST /healthcheck/fail && ask POST '/drain_listeners?graceful'; } >/dev/null 2>&1 || {
    echo "drain: Envoy's admin interface does not answer on port $port" >&2
    exit 0 # nothing to wait for
}
while ((SECONDS < earliest)) || (($(open_requests 2>/dev/null) > 0)); do
    ((SECONDS < deadline)) || break
    sleep 0.5
done
