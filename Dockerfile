# syntax=docker/dockerfile:1
# The one image: hub, proxy and controller. What runs is said by the manifests: `perijove hub …`, `perijove proxy …`,
# `perijove controller …`.
#
# Bases are pinned by version. To pin a build to bytes as well, pass a digest:
#   docker build --build-arg PYTHON=3.13.7-slim-bookworm@sha256:… .
ARG PYTHON=3.13.7-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/run.txt requirements/run.txt
RUN python -m venv /opt/perijove \
    && /opt/perijove/bin/pip install --no-input --require-hashes --no-deps --only-binary=:all: -r requirements/run.txt
# Afterwards: a change of the code does not install everything again. What only builds stays behind.
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/perijove/bin/pip install --no-input --no-deps --no-build-isolation . \
    && /opt/perijove/bin/pip uninstall --yes editables hatchling pathspec pluggy tomlkit trove-classifiers

FROM python:${PYTHON}
# Process 1 has to pass signals on and reap what spawners leave behind.
RUN apt-get update \
    && apt-get install --no-install-recommends --yes tini=0.19.0-* \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 perijove \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /srv/jupyterhub --shell /usr/sbin/nologin perijove \
    && install --directory --owner=1000 --group=1000 /srv/jupyterhub /var/lib/perijove
COPY --from=build /opt/perijove /opt/perijove
# Nothing is written but to volumes: the root file system may be read-only.
ENV PATH=/opt/perijove/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/srv/jupyterhub \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /srv/jupyterhub
USER 1000:1000
# Of the proxy, the hub, and the proxy with a certificate.
EXPOSE 8000 8081 8443
# At which hub, proxy and controller finish what they are at.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--"]
CMD ["perijove", "--help"]
