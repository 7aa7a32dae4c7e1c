ARG DEBIAN
FROM ${DEBIAN}
RUN apt-get update -qq && cd /tmp && apt-get download -qq prometheus && dpkg -x prometheus_*.deb /tmp/root \
    && install /tmp/root/usr/bin/prometheus /usr/local/bin/prometheus && rm -r /tmp/* \
    && install -d -o 65534 -g 65534 /prometheus
USER nobody
VOLUME /prometheus
ENTRYPOINT ["prometheus"]
