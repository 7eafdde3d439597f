# syntax=docker/dockerfile:1
# SPDX-License-Identifier: Apache-2.0
#   docker build -t mtm:0.1.0 .                                  or, for a GPU: --build-arg MTM_CUDA=1
#   docker run --read-only -p 127.0.0.1:50051:50051 -v ./mtm.toml:/etc/mtm/mtm.toml:ro -v ./models:/models:ro \
#     -v memories:/memories mtm:0.1.0
FROM debian:bookworm-slim AS build
ARG MTM_CUDA=0
ENV MTM_CUDA=$MTM_CUDA
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/root/.cache deploy/package.sh /packages

FROM debian:bookworm-slim
RUN --mount=type=bind,from=build,source=/packages,target=/packages \
    --mount=type=bind,source=deploy/docker,target=/steps /steps/runtime.sh /packages
COPY --chmod=755 deploy/docker/healthcheck.sh /usr/local/bin/mtm-healthcheck
USER 10001:10001
# The driver is the host's, by NVIDIA's container runtime.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD ["mtm-healthcheck", "9464"]
ENTRYPOINT ["mtm_server"]
CMD ["serve", "--config", "/etc/mtm/mtm.toml"]
