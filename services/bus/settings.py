"""Every setting of Wardstream, one table: environment variables WARDSTREAM_<NAME>, read once by `load`.

To add one, add a field to `Settings`: its type says how the text is read, `setting` gives its default, meaning and
unit. `python -m services.bus.settings` prints the table that the README carries.
"""
# ruff: noqa: RUF009 -- `setting` returns a dataclass field

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from services.domain.identity import PREFERRED_TYPES
from services.domain.site import Site

PREFIX = "WARDSTREAM_"
METRICS_PORTS = {
    "edge": 9101,
    "normalize": 9102,
    "assemble": 9103,
    "encode": 9104,
    "score": 9105,
    "monitor": 9106,
    "deliver": 9107,
    "fallback": 9108,
    "score-shadow": 9109,
    "announce": 9110,
    "deliver-hl7": 9111,
}
"""Default port of each service's /metrics, distinct so that all of them can share a machine."""
CHECKOUT = Path(__file__).resolve().parents[2]


class BadSetting(ValueError):
    """A variable that cannot be read; the text names it and says what it should be, never a secret's value."""


def setting(default: Any, meaning: str, unit: str = "", *, secret: bool = False, choices: tuple[str, ...] = ()) -> Any:
    """A field of `Settings`: default, what it means, its unit, whether it is a secret, the values it may have."""
    meta = {"meaning": meaning, "unit": unit, "secret": secret, "choices": choices}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=meta, repr=not secret)
    return field(default=default, metadata=meta, repr=not secret)


def default_home() -> Path:
    """`.wardstream` in a checkout, ~/.local/share/wardstream when installed elsewhere."""
    in_checkout = (CHECKOUT / "pyproject.toml").exists()
    return CHECKOUT / ".wardstream" if in_checkout else Path.home() / ".local" / "share" / "wardstream"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a process was told. Secrets do not show in its repr."""

    # Where things are kept
    home: Path = setting(default_home(), "Downloads, local Kafka and Triton data, tables, the pseudonym secret")
    objects: str = setting(
        "", "Object storage for DICOM objects and attachments: a folder, or an s3:// address; `home`/objects when empty"
    )
    maven_url: str = setting("", "Maven repository for the local Kafka's artefacts; Maven Central when empty")

    # Kafka
    bootstrap: str = setting("127.0.0.1:9092", "Kafka brokers, host:port separated by commas")
    security_protocol: str = setting(
        "PLAINTEXT",
        "How to reach them",
        choices=("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    )
    sasl_mechanism: str = setting("SCRAM-SHA-512", "With SASL", choices=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"))
    sasl_username: str = setting("", "With SASL")
    sasl_password: str = setting("", "With SASL", secret=True)
    ssl_cafile: str = setting("", "PEM file of the authorities that sign the brokers; the system's when empty")
    ssl_certfile: str = setting("", "PEM file of our client certificate, with TLS client authentication")
    ssl_keyfile: str = setting("", "PEM file of its key")
    replication: int = setting(1, "Replication factor of the topics; 3 in production")
    min_isr: int = setting(1, "In-sync replicas that acknowledge a write; 2 in production")
    partitions: int = setting(0, "Partitions of patient-keyed topics when they are created; the table's number when 0")

    # The engine
    engine: str = setting(
        "auto",
        "What runs the processors: Faust those with state, the loop the rest; or one of them all",
        choices=("auto", "faust", "loop"),
    )
    instance: str = setting(
        "",
        "Stable name of this process among its service's (static membership, e.g. a StatefulSet pod); none when empty",
    )
    micro_batch: int = setting(256, "Messages folded between two confirmations of their outputs")
    micro_batch_wait: float = setting(0.02, "Longest wait to fill a micro-batch", "s")
    commit_interval: float = setting(0.5, "Between two commits of consumed offsets", "s")
    stall_after: float = setting(
        60.0, "Liveness fails when messages are processed but no commit advances for so long", "s"
    )
    session_timeout: float = setting(30.0, "After which a silent worker's partitions go to others", "s")
    metrics_port: int = setting(
        0, "Port of /metrics, /healthz and /readyz; when 0, 9101 (edge) to 9107 (deliver), in the order of the flow"
    )
    metrics_host: str = setting("0.0.0.0", "Address they listen on")

    # The site
    site: str = setting("default", "The site's name")
    time_zone: str = setting("UTC", "Of HL7 times without an offset, and of the page: an IANA name or +hh:mm")
    default_charset: str = setting("utf-8", "Of HL7 messages without MSH-18")
    default_authority: str = setting(
        "", "Assigning authority of identifiers that name none; in HL7 the sending facility when empty"
    )
    authority_aliases: dict[str, str] = setting(
        {}, "Assigning authorities that are the same: sent=canonical separated by commas, OIDs without urn:oid:"
    )
    identifier_types: tuple[str, ...] = setting((), "HL7 table 0203 types that key a record, best first")
    refuse_test_messages: bool = setting(False, "Set aside messages whose MSH-11 is not P")
    check_structure: bool = setting(False, "Hold HL7 v2 messages to their version's structure (hl7apy; slow)")
    check_fhir: bool = setting(False, "Hold FHIR resources to the R4 models (fhir.resources; slow)")
    unit_aliases: dict[str, str] = setting({}, "The site's unit spellings: sent=UCUM separated by commas")
    code_aliases: dict[str, str] = setting({}, "The site's codes: code=LOINC separated by commas")
    pseudonym_secret: str = setting(
        "", "Keys the patient pseudonyms; a file below `home` made at the first local run when empty", secret=True
    )

    # Who may call over HTTP
    tokens: str = setting(
        "", "File of the tokens that let callers in (`wardstream token`); no token is asked for when empty"
    )
    auth: str = setting(
        "tokens",
        "Without tokens HTTP listens on loopback alone, or anywhere when this says that a proxy asks who calls",
        choices=("tokens", "proxy"),
    )
    token: str = setting("", "The token that `replay` shows to an edge that asks for one", secret=True)

    # The edge
    mllp_host: str = setting("0.0.0.0", "Address of the MLLP listener")
    mllp_port: int = setting(2575, "Its port")
    http_host: str = setting("127.0.0.1", "Address of the FHIR and STOW-RS endpoints")
    http_port: int = setting(8080, "Their port")
    dicom_host: str = setting("0.0.0.0", "Address of the C-STORE provider")
    dicom_port: int = setting(11112, "Its port")
    dicom_ae_title: str = setting("WARDSTREAM", "Its application entity title")
    dicom_callers: tuple[str, ...] = setting(
        (), "Calling AE titles that are let in, separated by commas; any when empty"
    )
    dicom_max_associations: int = setting(16, "DICOM associations open at once; more are turned away")
    mllp_max_bytes: int = setting(16_711_680, "Longest HL7 message taken; below 16 MiB", "bytes")
    mllp_max_connections: int = setting(256, "MLLP connections open at once; more are turned away")
    mllp_frame_timeout: float = setting(30.0, "For a message to arrive whole", "s")
    mllp_idle_timeout: float = setting(3600.0, "After which a silent MLLP connection is closed", "s")
    control_id_reuse: str = setting(
        "reject",
        "What an MSH-10 that comes again within 24 h with other bytes gets: AR and a dead letter, or AA and a count",
        choices=("reject", "accept"),
    )
    edge_tls_cert: str = setting("", "PEM file of the certificate that MLLP, HTTP and DICOM show; no TLS when empty")
    edge_tls_key: str = setting("", "PEM file of its key; in the certificate's file when empty")
    edge_tls_client_ca: str = setting(
        "", "PEM file of the authorities whose certificates senders must show; any sender when empty"
    )

    # Scoring and the page
    triton_url: str = setting(
        "localhost:8001", "Triton's gRPC address; dns:///HOST:PORT spreads over all of a name's addresses"
    )
    models: Path = setting(CHECKOUT / "model_repository", "The model repository, for the models' manifests")
    model: str = setting("risk_fusion", "The model whose risks are published: name or name:version")
    shadow_model: str = setting("", "A challenger that scores to risk.predictions.shadow: name or name:version")
    page_host: str = setting("127.0.0.1", "Address of the page")
    page_port: int = setting(8090, "Its port")
    page_url: str = setting("", "The page's public address, for links to it; as the caller addressed it when empty")
    page_look_back: float = setting(86400.0, "How far back the page reads when it starts", "s")
    cors_origins: tuple[str, ...] = setting((), "Other web origins let in to FHIR and CDS Hooks; * lets in all")

    # Predictions as HL7 messages
    hl7_out: str = setting("", "Where `deliver-hl7` sends predictions: host:port of an MLLP receiver")
    hl7_out_push: str = setting(
        "changes",
        "Which predictions: a patient's first, alerts that begin or end, and what has changed; or every one",
        choices=("changes", "all"),
    )
    hl7_out_change: float = setting(
        0.5, "Changed means: moved by this share of what was told, at least of the threshold, or not judged any more"
    )
    hl7_out_interval: float = setting(
        3600.0, "Least time between two messages of a patient that only tell of a change", "s"
    )
    hl7_out_fallback: bool = setting(False, "Also send NEWS2 while the models are away, under a code of its own")
    hl7_out_max_age: float = setting(21600.0, "Predictions that were published longer ago are not announced", "s")
    hl7_out_authority: str = setting(
        "", "Assigning authority of the numbers by which the receiver knows patients; any when empty"
    )
    hl7_out_application: str = setting("", "MSH-5 of what is sent")
    hl7_out_facility: str = setting("", "MSH-6; MSH-4 is the site's name")
    hl7_out_ack_timeout: float = setting(30.0, "For an answer; then the message is sent again", "s")
    hl7_out_give_up: float = setting(3600.0, "After so long of AE or CE a message is set aside as a dead letter", "s")
    hl7_out_tls: bool = setting(False, "Send over TLS")
    hl7_out_tls_ca: str = setting("", "PEM file of the authorities that sign the receiver; the system's when empty")
    hl7_out_tls_cert: str = setting("", "PEM file of our client certificate")
    hl7_out_tls_key: str = setting("", "PEM file of its key; in the certificate's file when empty")

    # Monitoring
    monitor_interval: float = setting(10.0, "Between two sets of figures on monitoring.metrics", "s")
    monitor_look_back: float = setting(86400.0, "How far back the monitor reads when it starts", "s")

    @property
    def objects_address(self) -> str:
        """Where the object store is: `objects`, else a folder below home."""
        return self.objects or str(self.home / "objects")


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment; raises BadSetting naming the first variable that cannot be read."""
    environment = os.environ if environment is None else environment
    given = {}
    for one in fields(Settings):
        text = environment.get(variable(one))
        if text is not None and text != "":
            given[one.name] = _parse(one, text)
    return Settings(**given)


def variable(one: "Field[Any]") -> str:
    """The environment variable of a field."""
    return PREFIX + one.name.upper()


def _parse(one: "Field[Any]", text: str) -> Any:
    kind, choices = getattr(one.type, "__name__", str(one.type)), one.metadata["choices"]
    shown = "(its value is not shown)" if one.metadata["secret"] else repr(text)
    try:
        value = _READERS[kind](text)
    except ValueError as error:
        raise BadSetting(f"{variable(one)}: {shown} is not {_KINDS[kind]}") from error
    if choices and value not in choices:
        raise BadSetting(f"{variable(one)}: {shown} is none of {', '.join(choices)}")
    return value


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.strip().lower() not in words:
        raise ValueError(text)
    return words[text.strip().lower()]


def _pairs(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    found = {}
    for key, equals, value in pairs:
        if not equals:
            raise ValueError(text)
        found[key.strip()] = value.strip()
    return found


_READERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _boolean,
    "Path": lambda text: Path(text).expanduser(),
    "tuple": lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
    "dict": _pairs,
}
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "dict": "name=value,name=value"}


def pseudonym_secret(settings: Settings) -> bytes:
    """The key of the pseudonyms: the setting, or a file below home made 0600 at the first use."""
    if settings.pseudonym_secret:
        return settings.pseudonym_secret.encode()
    path = settings.home / "pseudonym-secret"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(32).encode())
    return path.read_bytes()


def site_from_settings(settings: Settings) -> Site:
    """The site's conventions; raises BadSetting when WARDSTREAM_TIME_ZONE names no zone."""
    site = Site(
        secret=pseudonym_secret(settings),
        name=settings.site,
        time_zone=settings.time_zone,
        default_charset=settings.default_charset,
        default_authority=settings.default_authority,
        authority_aliases=settings.authority_aliases,
        refuse_test_messages=settings.refuse_test_messages,
        check_structure=settings.check_structure,
        check_fhir=settings.check_fhir,
        unit_aliases=settings.unit_aliases,
        code_aliases=settings.code_aliases,
        preferred_identifier_types=settings.identifier_types or PREFERRED_TYPES,
    )
    try:
        _ = site.zone
    except ValueError as error:
        raise BadSetting(f"{PREFIX}TIME_ZONE: {error}") from error
    return site


def table() -> str:
    """The settings as a Markdown table."""
    rows = ["| Variable | Default | Unit | Meaning |", "|---|---|---|---|"]
    for one in fields(Settings):
        shown = f"`{one.default}`" if isinstance(one.default, str | int | float) and one.default != "" else ""
        if one.name == "home":
            shown = "`.wardstream`"
        if one.name == "models":
            shown = "`model_repository`"
        meaning = one.metadata["meaning"]
        if one.metadata["choices"]:
            meaning += ": " + ", ".join(f"`{c}`" for c in one.metadata["choices"])
        rows.append(f"| `{variable(one)}` | {shown} | {one.metadata['unit']} | {meaning} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
