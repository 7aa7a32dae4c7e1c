#!/bin/sh
# Replaces the containers of `authz` or `envoy` without an outage: starts as many new ones beside them,
# waits until they are known, then drains and removes the old ones, one after the other.
#
#   deploy/compose/replace.sh SERVICE…
set -eu
cd "$(dirname "$0")/../.."
# Envoy and the balancer look names up every 5 s and 2 s, and ask once a second for health.
known_seconds=8

for service in "$@"; do
    case $service in authz | envoy) ;; *)
        echo "replace.sh: $service can't be replaced like this; give authz or envoy" >&2
        exit 2
        ;;
    esac
    old=$(docker compose ps --quiet "$service")
    count=$(($(echo "$old" | wc -w) * 2))
    [ "$count" -gt 0 ] || {
        echo "replace.sh: no container of $service runs; start it: docker compose up --detach --wait" >&2
        exit 1
    }
    docker compose up --detach --wait --no-deps --no-recreate --scale "$service=$count" "$service"
    sleep "$known_seconds"
    for container in $old; do
        # `docker stop` does not run what Compose runs before a stop.
        [ "$service" = authz ] || docker exec "$container" bash /etc/envoy/drain.sh
        docker stop "$container" >/dev/null
        docker rm "$container" >/dev/null
    done
done
