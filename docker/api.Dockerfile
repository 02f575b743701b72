# The API: the base install only, without torch, onnx or onnxruntime.
#   docker build -f docker/api.Dockerfile -t sosp-api:0.1.0 .
FROM python:3.11.15-slim-bookworm AS build

ENV PATH=/opt/sosp/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/sosp
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY sosp_core ./sosp_core
COPY service ./service
COPY worker ./worker
RUN pip install -c constraints.txt '.[otel]' \
    && pip uninstall --yes setuptools pip


FROM python:3.11.15-slim-bookworm

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sosp-api" \
      org.opencontainers.image.description="API of the SOSP compression service for ONNX models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A named volume takes over owner and mode of /data when it is first mounted there.
RUN groupadd --gid 10001 sosp \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin sosp \
    && install --directory --owner=10001 --group=10001 --mode=0750 /data
COPY --from=build /opt/sosp /opt/sosp
COPY docker/api_health.py /opt/sosp/

ENV PATH=/opt/sosp/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SOSP_DATA_DIR=/data \
    TMPDIR=/tmp
# Python looks for modules here too: a directory the user cannot write to.
WORKDIR /opt/sosp
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-P", "/opt/sosp/api_health.py", "/healthz"]
# Not `sosp serve`, which brings a worker of its own. Event streams never end by themselves; they
# are cut off when the time for a graceful end is over.
CMD ["uvicorn", "--factory", "service.app:create_app", "--host", "0.0.0.0", "--port", "8000", \
     "--no-access-log", "--timeout-graceful-shutdown", "10"]
