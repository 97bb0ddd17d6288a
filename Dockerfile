# One image runs any service: `docker run wardstream run normalize`.
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/runtime.lock /tmp/runtime.lock
RUN python -m venv /opt/wardstream/venv \
    && /opt/wardstream/venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r /tmp/runtime.lock

FROM python:3.11.14-slim-bookworm
RUN useradd --uid 10001 --create-home --home-dir /var/lib/wardstream wardstream
COPY --from=build /opt/wardstream/venv /opt/wardstream/venv
COPY services /opt/wardstream/services
# The data sets' readers, for `wardstream replay` and `score-dataset`; training itself needs more than this image has.
COPY training/__init__.py /opt/wardstream/training/__init__.py
COPY training/datasets /opt/wardstream/training/datasets
COPY model_repository /opt/wardstream/model_repository
ENV PATH=/opt/wardstream/venv/bin:$PATH \
    PYTHONPATH=/opt/wardstream \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    WARDSTREAM_HOME=/var/lib/wardstream
WORKDIR /opt/wardstream
USER 10001
ENTRYPOINT ["python", "-m", "services.cli"]
CMD ["--help"]
