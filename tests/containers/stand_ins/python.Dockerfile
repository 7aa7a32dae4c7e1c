ARG DEBIAN
FROM ${DEBIAN}
# This machine's CA bundle, so that pip in a build trusts what pip here trusts.
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DEFAULT_TIMEOUT=180 PIP_RETRIES=10
RUN ln -s python3 /usr/bin/python
