"""How each Kafka client is told where the cluster is and how to be let in: one source, two spellings."""

import ssl
from typing import Any

from services.bus.settings import BadSetting, Settings

COMPRESSION = "zstd"
"""aiokafka compresses lz4 at its slowest level: 50-110 MB/s here, against 500-700 MB/s for zstd, and less small."""
MAX_BATCH_BYTES = 512 << 10
"""Of one partition's messages in a request. A client sends one batch a partition at a time, so its default of 16 KiB
makes a round trip of every record; it stays below the smallest topic's limit of 1 MiB."""
MAX_REQUEST_BYTES = 34 << 20  # above the largest message of the largest topic, with its headers
MAX_FETCH_BYTES = 52_428_800  # the brokers' own default; one larger message still arrives (KIP-74)


def connection(settings: Settings, client_id: str = "wardstream") -> dict[str, Any]:
    """Connection arguments of kafka-python's and aiokafka's clients: they have the same names."""
    known: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap.split(","),
        "client_id": client_id,
        "security_protocol": settings.security_protocol,
    }
    if "SSL" in settings.security_protocol:
        known["ssl_context"] = ssl_context(settings)
    return known | _sasl(settings)


def aiokafka_producer(settings: Settings, client_id: str = "wardstream") -> dict[str, Any]:
    """Arguments of an AIOKafkaProducer whose confirmed sends are kept: acks=all, idempotent, large messages allowed."""
    return connection(settings, client_id) | {
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": COMPRESSION,
        "max_batch_size": MAX_BATCH_BYTES,
        "max_request_size": MAX_REQUEST_BYTES,
    }


def kafka_python_producer(settings: Settings, client_id: str = "wardstream") -> dict[str, Any]:
    """Arguments of a KafkaProducer whose confirmed sends are kept."""
    return connection(settings, client_id) | {
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": COMPRESSION,
        "batch_size": MAX_BATCH_BYTES,
        "max_request_size": MAX_REQUEST_BYTES,
    }


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """TLS towards the brokers, with host names checked and our certificate where one is set. Raises BadSetting."""
    files = settings.ssl_cafile, settings.ssl_certfile, settings.ssl_keyfile
    return client_tls(*files, variables="WARDSTREAM_SSL_CAFILE, _CERTFILE or _KEYFILE")


def client_tls(authorities: str, certificate: str, key: str, *, variables: str) -> ssl.SSLContext:
    """TLS towards a server, with its host name checked and our certificate shown where one is named, from PEM files.

    Raises BadSetting naming the `variables` when a file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=authorities or None)
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except OSError as error:  # ssl.SSLError is one
        raise BadSetting(f"{variables}: {type(error).__name__}") from error
    return context


def _sasl(settings: Settings) -> dict[str, Any]:
    if not settings.security_protocol.startswith("SASL"):
        return {}
    return {
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": settings.sasl_password,
    }
