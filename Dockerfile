# olm with an engine for every x86-64 or 64-bit Arm processor:
#
#     docker build -t olm .
#     docker run --rm -v olm:/var/lib/olm olm key create me
#     docker run -p 11434:11434 -v olm:/var/lib/olm olm
#     docker run -it --rm -v olm:/var/lib/olm olm run demo
FROM debian:12-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates g++ git make python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/olm \
    && /opt/olm/bin/pip install --no-cache-dir --upgrade 'pip>=25.1' \
    && /opt/olm/bin/pip install --no-cache-dir --no-deps . \
    && /opt/olm/bin/python -m olmkit.engine.install --build portable --gpu none \
    && /opt/olm/bin/pip install --no-cache-dir . \
    && rm -rf /root/.cache/olm

FROM debian:12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libgomp1 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /var/lib/olm olm
COPY --from=build /opt/olm /opt/olm
ENV PATH=/opt/olm/bin:$PATH OLM_HOME=/var/lib/olm
RUN python -m olmkit.engine.runner.selftest && olm --version
USER olm
VOLUME /var/lib/olm
EXPOSE 11434
# By the private door, which needs neither key nor TLS.
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s CMD ["python", "-c", \
    "from olmkit.engine.client import connect; from olmkit.engine.settings import Settings; \
    connect(Settings.from_environment(), start=False).request('GET', '/healthz')"]
ENTRYPOINT ["olm"]
# Other machines may reach what listens there: it starts when there is a key, or OLM_INSECURE=1.
CMD ["serve", "--host", "0.0.0.0:11434"]
