ARG DEBIAN
FROM ${DEBIAN}
COPY grafana.py /usr/local/bin/grafana.py
RUN install -d -o 472 -g 472 /var/lib/grafana
USER 472
ENTRYPOINT ["python3", "/usr/local/bin/grafana.py"]
