# The service in a container:
#   docker build --tag hybridsync:0.1.0 .
#   docker run --read-only --publish 127.0.0.1:3000:3000 --env HYBRIDSYNC_ZOOKEEPER_HOSTS=… --env … hybridsync:0.1.0
# Every other command of hybridsync can stand in the place of `run`. compose.yaml has servers too, k8s/ a cluster.

# Python 3.11 is what the tests run on; the tag follows its fixes.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
# For native/. Its few files need nothing of a compiler that has changed in years, so any version does.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE ./
COPY config config
COPY native native
COPY hybridsync hybridsync
# Both names: from pip 25.3 on, the first no longer reaches the environment that the wheel is built in.
ENV PIP_CONSTRAINT=/src/constraints.txt \
    PIP_BUILD_CONSTRAINT=/src/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
# Only native/ is compiled, here: the dependencies are wheels, and the result has no compiler.
RUN HYBRIDSYNC_BUILD_NATIVE=require pip wheel --no-deps --wheel-dir /src/dist /src \
    && python -m venv --without-pip /opt/hybridsync \
    && pip --python /opt/hybridsync/bin/python install --only-binary=:all: /src/dist/*.whl

FROM python:3.11-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="hybridsync" \
      org.opencontainers.image.description="Mirrors a ZooKeeper tree into MongoDB and always knows how fresh the mirror is" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --system --gid 10001 hybridsync \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent hybridsync
COPY --from=build /opt/hybridsync /opt/hybridsync
# It writes to no disk, so the root filesystem may be read-only. Probes come from outside of the container.
ENV PATH=/opt/hybridsync/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HYBRIDSYNC_HTTP_HOST=0.0.0.0
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /
EXPOSE 3000
STOPSIGNAL SIGTERM
# Liveness: three silent or 503 answers in a row mean that the process is broken, not that a server is away.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; server = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('HYBRIDSYNC_HTTP_PORT', '3000')), timeout=4); server.request('GET', '/health/live'); sys.exit(server.getresponse().status != 200)"]
ENTRYPOINT ["hybridsync"]
CMD ["run"]
