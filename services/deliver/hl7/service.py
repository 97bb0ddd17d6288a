"""`wardstream run announce` and `run deliver-hl7`: what the hospital's systems are told, and the telling."""

import ssl
from datetime import timedelta

from services.bus import connect
from services.bus.health import Health
from services.bus.run import run_step
from services.bus.settings import BadSetting, Settings, site_from_settings
from services.deliver.hl7.announce import Announce, Receiver
from services.deliver.hl7.policy import Policy
from services.deliver.hl7.send import Send
from services.edge.mllp_client import MllpClient


def run_announce(settings: Settings) -> None:
    """Choose and render until SIGTERM."""
    policy = Policy(
        every=settings.hl7_out_push == "all",
        change=settings.hl7_out_change,
        interval=timedelta(seconds=settings.hl7_out_interval),
        fallback=settings.hl7_out_fallback,
    )
    receiver = Receiver(
        sending_facility=settings.site,
        application=settings.hl7_out_application,
        facility=settings.hl7_out_facility,
        authority=settings.hl7_out_authority,
    )
    step = Announce(policy, receiver, site_from_settings(settings), max_age=settings.hl7_out_max_age)
    run_step(step, settings)


def run_send(settings: Settings) -> None:
    """Send until SIGTERM. Raises BadSetting where WARDSTREAM_HL7_OUT is no host:port, or a TLS file cannot be read."""
    host, port = address(settings)
    tls, health = client_tls(settings), Health(settings.stall_after)

    def client() -> MllpClient:
        return MllpClient(host, port, tls=tls, timeout=settings.hl7_out_ack_timeout)

    run_step(Send(client, health, give_up=settings.hl7_out_give_up), settings, health)


def address(settings: Settings) -> tuple[str, int]:
    """Host and port of the receiver; raises BadSetting."""
    host, _, port = settings.hl7_out.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadSetting(f"WARDSTREAM_HL7_OUT: {settings.hl7_out!r} is not host:port")
    return host.strip("[]"), int(port)


def client_tls(settings: Settings) -> ssl.SSLContext | None:
    """TLS towards the receiver, with its host name checked and our certificate where one is set; raises BadSetting."""
    if not settings.hl7_out_tls:
        return None
    files = settings.hl7_out_tls_ca, settings.hl7_out_tls_cert, settings.hl7_out_tls_key
    return connect.client_tls(*files, variables="WARDSTREAM_HL7_OUT_TLS_CA, _CERT or _KEY")
