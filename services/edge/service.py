"""The edge service: `wardstream run edge`. MLLP, FHIR and STOW-RS over HTTP, and C-STORE in one process."""

import asyncio
import logging
import signal
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from aiohttp import web

from services.bus.access import tokens_for
from services.bus.health import Health, serve
from services.bus.objects import open_store
from services.bus.settings import BadSetting, Settings, site_from_settings
from services.edge.acceptance import Acceptance
from services.edge.callers import admit
from services.edge.dicom_intake import DicomIntake
from services.edge.dicom_scp import DicomScp
from services.edge.fhir_http import FhirEndpoint
from services.edge.ledger import Ledger
from services.edge.mllp import Limits, MllpListener, server_tls
from services.edge.publisher import KafkaPublisher
from services.edge.stow import Stow

log = logging.getLogger(__name__)

LAST_ANSWERS_S = 12.0
"""When stopping: longest wait for senders' last answers, as long as a message may wait for the broker."""
SETTLE_S = 1.0
"""Then for messages whose senders have had AE; they are sent again if the broker has not taken them."""


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT: then take no more, finish what has come, and close."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("aiokafka", "pynetdicom", "pydicom"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    asyncio.run(_until_signal(settings))


async def _until_signal(settings: Settings) -> None:
    stopping = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stopping.set)
    await run_edge(settings, stopping)


async def run_edge(settings: Settings, stopping: asyncio.Event) -> None:
    """Serve until `stopping` is set. Raises OSError when an address is taken, BadSetting for unreadable TLS files, or
    where strangers could send by HTTP and nobody has said that they may.

    Starts without Kafka: senders then get AE, 503 or 0xA700 until it is there, and readiness says so.
    What is entered first is left last: the listeners close, at once together, before what they hand messages to.
    """
    site, tls = site_from_settings(settings), _tls(settings)
    mutual = tls is not None and bool(settings.edge_tls_client_ca)
    tokens = tokens_for(settings, settings.http_host, "WARDSTREAM_HTTP_HOST", guarded=mutual)
    health = Health(settings.stall_after)
    async with AsyncExitStack() as open_:
        probes = await serve(settings, "edge", health)
        open_.push_async_callback(probes.cleanup)
        publisher = KafkaPublisher(settings)
        await publisher.start()
        open_.push_async_callback(publisher.stop)
        health.add_check("kafka", lambda: "" if publisher.connected else "not reachable")

        ledger = Ledger(settings.home / "edge" / "acknowledged.sqlite")
        open_.push_async_callback(ledger.close)
        keeping = asyncio.create_task(ledger.run())
        open_.callback(keeping.cancel)
        acceptance = Acceptance(publisher, ledger, site, accept_reused=settings.control_id_reuse == "accept")
        open_.push_async_callback(acceptance.settle, SETTLE_S)
        limits = Limits(
            max_bytes=settings.mllp_max_bytes,
            max_connections=settings.mllp_max_connections,
            frame_timeout=settings.mllp_frame_timeout,
            idle_timeout=settings.mllp_idle_timeout,
        )
        mllp = MllpListener(acceptance, settings.mllp_host, settings.mllp_port, tls=tls, limits=limits)
        listeners: list[Callable[[], Awaitable[None]]] = []
        open_.push_async_callback(_stop_together, listeners)
        await mllp.start()
        listeners.append(lambda: mllp.stop(LAST_ANSWERS_S))

        intake = DicomIntake(open_store(settings.objects_address), publisher, site)
        scp = DicomScp(
            intake,
            host=settings.dicom_host,
            port=settings.dicom_port,
            ae_title=settings.dicom_ae_title,
            tls=tls,
            callers=settings.dicom_callers,
            max_associations=settings.dicom_max_associations,
        )
        await scp.start()
        listeners.append(scp.stop)
        app = web.Application(middlewares=[admit(tokens)])
        FhirEndpoint(publisher, site).add_to(app)
        Stow(intake).add_to(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=LAST_ANSWERS_S)
        await runner.setup()
        listeners.append(runner.cleanup)
        await web.TCPSite(runner, settings.http_host, settings.http_port, ssl_context=tls).start()

        health.set_ready(True)
        log.info("edge: MLLP %d, HTTP %d, DICOM %d", mllp.port, settings.http_port, scp.port)
        await stopping.wait()
        health.set_ready(False)
        log.info("edge: stopping")


async def _stop_together(listeners: list[Callable[[], Awaitable[None]]]) -> None:
    await asyncio.gather(*(stop() for stop in listeners))


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.edge_tls_cert:
        return None
    try:
        return server_tls(settings.edge_tls_cert, settings.edge_tls_key, settings.edge_tls_client_ca)
    except OSError as error:  # ssl.SSLError is one
        raise BadSetting(f"WARDSTREAM_EDGE_TLS_CERT, _KEY or _CLIENT_CA: {type(error).__name__}") from error
