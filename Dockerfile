# The node in a container: `docker compose up`, or `docker build -t dicom-node .`.
FROM python:3.11-slim

# For `detector: tesseract` only; everything else comes with the locked wheels.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends tesseract-ocr \
    && rm -rf /var/lib/apt/lists/*

# The home folder is where spool, ledger and folder destinations stand: relative folders of the configuration are below it.
RUN useradd --uid 10001 --home-dir /var/lib/dicom_node --create-home --shell /usr/sbin/nologin dicom_node

WORKDIR /opt/dicom_node
COPY requirements.lock requirements-postgresql.lock ./
# Anything at all: with what a ledger on PostgreSQL needs, which is under the LGPL.
ARG POSTGRESQL=""
RUN pip install --no-cache-dir --only-binary :all: --no-deps --require-hashes \
    -r requirements.lock ${POSTGRESQL:+-r requirements-postgresql.lock}
COPY pyproject.toml README.md LICENSE ./
COPY dicom_node ./dicom_node
RUN pip install --no-cache-dir --no-deps --no-build-isolation .
COPY config/node.yaml /etc/dicom_node/node.yaml

USER dicom_node
WORKDIR /var/lib/dicom_node
VOLUME ["/var/lib/dicom_node"]
EXPOSE 11112
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s \
    CMD ["dicom-node", "echo", "DICOM_NODE@127.0.0.1:11112", "--config", "/etc/dicom_node/node.yaml"]
ENTRYPOINT ["dicom-node"]
CMD ["serve", "--config", "/etc/dicom_node/node.yaml"]
