# The authz service. Envoy is not in here: it is a container of its own, of its own image.

# The Python that the tests run on. Pin it by digest in your own registry:
# --build-arg PYTHON_IMAGE=registry.example.com/python@sha256:…
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements/build.txt requirements/serve.txt requirements/
# The locks are whole and hashed, so nothing is resolved and nothing unknown is installed.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/authz \
    && /opt/build/bin/pip install --no-deps --require-hashes -r requirements/build.txt \
    && /opt/build/bin/pip --python /opt/authz install --no-deps --require-hashes -r requirements/serve.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY proto proto
COPY authz authz
# Compiles proto/*.proto into the wheel (hatch_build.py).
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/build/bin/pip --python /opt/authz install --no-deps /dist/*.whl

FROM ${PYTHON_IMAGE}
# `make image` passes these from authz/__init__.py and git.
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="authz" \
      org.opencontainers.image.description="The open authentication layer for AI gateways on Envoy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.authors="The authz maintainers" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# Under /run is where docker-compose.yml mounts volumes; a new volume takes over the owner.
RUN groupadd --gid 10001 authz \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/authz --no-create-home --shell /usr/sbin/nologin authz \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/authz /run/envoy /run/database \
       /run/certificates /run/certificates/authz /run/certificates/envoy
COPY --from=build /opt/authz /opt/authz
# Byte code was compiled when it was installed; the root file system may be read-only.
ENV PATH=/opt/authz/bin:$PATH PYTHONDONTWRITEBYTECODE=1 AUTHZ_CONFIG=/etc/authz/gateway.yaml
USER 10001:10001
WORKDIR /var/lib/authz
EXPOSE 9001 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-I", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/healthz', timeout=2)"]
ENTRYPOINT ["authz"]
CMD ["serve"]
