# The authz service. Envoy is not in here: it is a container of its own, of its own image.

# The Python that the tests run on. Pin it by digest in your own registry:
# --build-arg PYTHON_IMAGE=registry.example.com/python@sha256:…
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

# Times in the image are this one, so that two builds of one commit have the same files.
ARG SOURCE_DATE_EPOCH=1577836800

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY requirements/build.txt requirements/sbom.txt requirements/serve.txt requirements/
# The locks are whole and hashed, so nothing is resolved and nothing unknown is installed.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/authz && python -m venv /opt/sbom \
    && /opt/build/bin/pip install --no-deps --require-hashes -r requirements/build.txt \
    && /opt/sbom/bin/pip install --no-deps --require-hashes -r requirements/sbom.txt \
    && /opt/build/bin/pip --python /opt/authz install --no-compile --no-deps --require-hashes -r requirements/serve.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY proto proto
COPY authz authz
# Not above, because it is different for each commit, and the packages are not.
ARG SOURCE_DATE_EPOCH
# Compiles proto/*.proto into the wheel (hatch_build.py). Byte code that names its source by hash does
# not depend on when it was compiled. The sources of compiled modules are of no use at run time.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/build/bin/pip --python /opt/authz install --no-compile --no-deps /dist/*.whl \
    && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /opt/authz/sbom.cdx.json /opt/authz \
    && find /opt/authz/lib -type f '(' -name '*.c' -o -name '*.h' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.pyx' ')' -delete \
    && /opt/authz/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/authz/lib \
    && mkdir -p /image/opt && mv /opt/authz /image/opt/ \
    && find /image -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

FROM ${PYTHON_IMAGE}
ARG SOURCE_DATE_EPOCH
# `make image` passes these from authz/__init__.py and git.
ARG VERSION
ARG REVISION
ARG CREATED
ARG SOURCE
LABEL org.opencontainers.image.title="authz" \
      org.opencontainers.image.description="The open authentication layer for AI gateways on Envoy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.authors="The authz maintainers" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
# Under /run is where docker-compose.yml mounts volumes; a new volume takes over the owner.
RUN echo authz:x:10001: >>/etc/group \
    && echo authz:x:10001:10001::/var/lib/authz:/usr/sbin/nologin >>/etc/passwd \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/authz /run/envoy /run/database \
       /run/certificates /run/certificates/authz /run/certificates/envoy \
    && touch --date=@$SOURCE_DATE_EPOCH /etc /etc/group /etc/passwd /run /var/lib /var/lib/authz /run/envoy \
       /run/database /run/certificates /run/certificates/authz /run/certificates/envoy
# From a folder above, because the folder that is named here would get the time of the build.
COPY --from=build /image/ /
# Byte code is compiled already; the root file system may be read-only.
ENV PATH=/opt/authz/bin:$PATH PYTHONDONTWRITEBYTECODE=1 AUTHZ_CONFIG=/etc/authz/gateway.yaml
USER 10001:10001
WORKDIR /var/lib/authz
EXPOSE 9001 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-I", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/healthz', timeout=2)"]
ENTRYPOINT ["authz"]
CMD ["serve"]
