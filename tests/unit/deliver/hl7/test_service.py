"""How `deliver-hl7` is told where to send, and that it knows whom it sends to."""

import asyncio
import ssl
from pathlib import Path

import pytest
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server

from services.bus.settings import BadSetting, load
from services.deliver.hl7.service import address, client_tls
from services.edge.mllp_client import MllpClient
from tests.certificates import Authority
from tests.unit.formats.hl7v2.test_render_and_structure import sent


@pytest.mark.parametrize(
    ("text", "expected"),
    [("ehr.example:2575", ("ehr.example", 2575)), ("[::1]:1", ("::1", 1)), ("10.0.0.1:65535", ("10.0.0.1", 65535))],
)
def test_the_receivers_address_is_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert address(load({"WARDSTREAM_HL7_OUT": text})) == expected


@pytest.mark.parametrize("text", ["", "ehr", "ehr:", ":2575", "ehr:0", "ehr:65536", "ehr:http"])
def test_anything_else_is_said_to_be_none(text: str) -> None:
    with pytest.raises(BadSetting, match="WARDSTREAM_HL7_OUT"):
        address(load({"WARDSTREAM_HL7_OUT": text}))


def test_tls_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert client_tls(load({})) is None
    with pytest.raises(BadSetting, match="WARDSTREAM_HL7_OUT_TLS_CA"):
        client_tls(load({"WARDSTREAM_HL7_OUT_TLS": "yes", "WARDSTREAM_HL7_OUT_TLS_CA": str(tmp_path / "none")}))


async def test_a_receiver_is_sent_to_over_tls_only_when_its_certificate_is_its_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("receiver", "DNS:localhost")
    server = await start_hl7_server(_accept, "127.0.0.1", 0, encoding="utf-8", ssl=_tls(shown))
    port = server.sockets[0].getsockname()[1]
    tls = client_tls(load({"WARDSTREAM_HL7_OUT_TLS": "yes", "WARDSTREAM_HL7_OUT_TLS_CA": str(authority.certificate)}))
    codes = {}
    for host in ("localhost", "127.0.0.1"):  # the certificate names the first alone
        client = MllpClient(host, port, tls=tls, timeout=20.0)
        try:
            codes[host], _ = await client.send(sent()["risk"])
        except ssl.SSLCertVerificationError:
            codes[host] = "refused"
        finally:
            await client.close()
    server.close()
    assert codes == {"localhost": "AA", "127.0.0.1": "refused"}


async def _accept(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
    try:
        while True:
            message = await reader.readmessage()
            writer.writemessage(message.create_ack("AA"))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context
