# A worker. TORCH_INDEX chooses the build of torch:
#   CPU   docker build -f docker/worker.Dockerfile -t sosp-worker:0.1.0-cpu .
#   CUDA  docker build -f docker/worker.Dockerfile -t sosp-worker:0.1.0-cuda \
#             --build-arg TORCH_INDEX=https://pypi.org/simple .
# The CUDA build brings CUDA's libraries as packages; the host provides the driver and the NVIDIA
# Container Toolkit.
FROM python:3.11.15-slim-bookworm AS build

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PATH=/opt/sosp/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/sosp
WORKDIR /src
COPY constraints.txt ./
# A layer of their own: large, and they seldom change. `==2.13.0` admits `2.13.0+cpu`, so that the
# step after this one keeps them and adds what they depend on, for CUDA its libraries.
RUN grep -E '^(torch|torchvision)==' constraints.txt > torch.txt \
    && pip install --no-deps --index-url "${TORCH_INDEX}" -r torch.txt
COPY pyproject.toml README.md LICENSE ./
COPY sosp_core ./sosp_core
COPY service ./service
COPY worker ./worker
RUN pip install -c constraints.txt '.[worker,otel]' \
    && pip uninstall --yes pip


FROM python:3.11.15-slim-bookworm

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sosp-worker" \
      org.opencontainers.image.description="Worker of the SOSP compression service for ONNX models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A named volume takes over owner and mode of /data when it is first mounted there.
RUN groupadd --gid 10001 sosp \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin sosp \
    && install --directory --owner=10001 --group=10001 --mode=0750 /data
COPY --from=build /opt/sosp /opt/sosp
COPY docker/worker_health.py /opt/sosp/

# The NVIDIA_* variables mean nothing where there is no NVIDIA runtime.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all \
    PATH=/opt/sosp/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SOSP_DATA_DIR=/data \
    TMPDIR=/tmp
# Python looks for modules here too: a directory the user cannot write to.
WORKDIR /opt/sosp
USER 10001:10001
VOLUME ["/data"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-P", "/opt/sosp/worker_health.py"]
CMD ["sosp", "worker"]
