ARG DEBIAN
FROM ${DEBIAN}
COPY envoy-binary /usr/local/bin/envoy
