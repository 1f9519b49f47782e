# One image for every part: web server, daemon, code server, and the `geoloc` command; with --build-arg EXTRAS=ray Ray's nodes, too.
ARG EXTRAS=postgres
FROM python:3.12-slim-bookworm AS build
ARG EXTRAS
WORKDIR /app
RUN python -m venv /opt/geoloc
ENV PATH=/opt/geoloc/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY geoloc_pipeline ./geoloc_pipeline
RUN pip install -c constraints.txt ".[$EXTRAS]"

FROM python:3.12-slim-bookworm
ARG EXTRAS
# KubeRay asks its nodes by wget whether they are well
RUN if [ "$EXTRAS" = ray ]; then \
        apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*; \
    fi
# 10001: a number that no package of the distribution uses, the same on every machine that mounts the home
RUN groupadd --gid 10001 geoloc \
    && useradd --uid 10001 --gid geoloc --create-home geoloc \
    && mkdir -p /var/lib/geoloc/dagster \
    && chown -R geoloc:geoloc /var/lib/geoloc
COPY --from=build /opt/geoloc /opt/geoloc
COPY --chown=geoloc:geoloc deploy/compose/dagster.yaml /var/lib/geoloc/dagster/dagster.yaml
COPY deploy/compose/workspace.yaml /etc/geoloc/workspace.yaml
ENV PATH=/opt/geoloc/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GEOLOC_HOME=/var/lib/geoloc/home \
    DAGSTER_HOME=/var/lib/geoloc/dagster
USER geoloc
WORKDIR /var/lib/geoloc
# The spatial extension of DuckDB came as a wheel; it is put where DuckDB looks for it, as this user.
RUN python -c 'from geoloc_pipeline.osm.spatial import ensure_spatial; ensure_spatial()'
CMD ["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", "4000", "-m", "geoloc_pipeline.definitions"]
