"""The topics: Wardstream's public contract, one table."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Topic:
    """One topic. `partitions` equal for all topics that are keyed by patient, so that they are co-partitioned."""

    name: str
    key: str  # what the key is
    value: str  # what the value is; a schema of `schemas/` where it is JSON
    summary: str
    public: bool = True
    partitions: int = 12
    retention_ms: int = 7 * 24 * 3600 * 1000
    compact: bool = False
    max_bytes: int = 1 << 20
    log_append_time: bool = False  # the broker stamps the time: the moment of acknowledgement
    config: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


PATIENT_KEY = "patient key"
LARGE = 16 << 20

HL7_RAW = Topic(
    "hl7v2.raw", PATIENT_KEY, "HL7 v2 bytes as sent", "HL7 v2 messages (ER7)", max_bytes=LARGE, log_append_time=True
)
FHIR_RAW = Topic(
    "fhir.raw",
    PATIENT_KEY,
    "FHIR JSON bytes as sent",
    "FHIR R4 resources and Bundles",
    max_bytes=LARGE,
    log_append_time=True,
)
DICOM_RAW = Topic(
    "dicom.raw",
    PATIENT_KEY,
    "DicomObject",
    "DICOM headers with a reference to the object",
    max_bytes=LARGE,
    log_append_time=True,
)
CLINICAL_EVENTS = Topic(
    "clinical.events", PATIENT_KEY, "ClinicalEvent", "What one message says about one patient", max_bytes=LARGE
)
RECORD_UPDATES = Topic(
    "record.updates",
    PATIENT_KEY,
    "ClinicalEvent",
    "Wardstream's own events: embeddings, merge transfers, forwards",
    public=False,
    max_bytes=LARGE,
)
PATIENT_RECORDS = Topic("patient.records", PATIENT_KEY, "PatientRecord", "The record after each event", max_bytes=LARGE)
RISK_PREDICTIONS = Topic(
    "risk.predictions",
    PATIENT_KEY,
    "Prediction",
    "Risks, fallback scores and indeterminate answers",
    log_append_time=True,
)
RISK_SHADOW = Topic(
    "risk.predictions.shadow",
    PATIENT_KEY,
    "Prediction",
    "A challenger model's risks, beside the champion's",
    public=False,
)
HL7_OUT = Topic(
    "hl7v2.out",
    PATIENT_KEY,
    "HL7 v2 bytes to send",
    "Predictions as HL7 v2 messages (ER7) for the hospital's own systems",
)
MONITORING_METRICS = Topic(
    "monitoring.metrics", "metric name", "MetricEvent", "Monitoring figures as events", partitions=1
)
FILTERED_MESSAGES = Topic(
    "filtered.messages", "none", "FilteredMessage", "Messages understood and set aside, with the reason", partitions=1
)
DEAD_LETTERS = Topic(
    "dead.letters",
    "key of the original",
    "DeadLetter",
    "Messages that could not be processed, with their bytes",
    partitions=1,
    max_bytes=LARGE * 2,
    retention_ms=30 * 24 * 3600 * 1000,
)

TOPICS: tuple[Topic, ...] = (
    HL7_RAW,
    FHIR_RAW,
    DICOM_RAW,
    CLINICAL_EVENTS,
    RECORD_UPDATES,
    PATIENT_RECORDS,
    RISK_PREDICTIONS,
    RISK_SHADOW,
    HL7_OUT,
    MONITORING_METRICS,
    FILTERED_MESSAGES,
    DEAD_LETTERS,
)
BY_NAME: dict[str, Topic] = {t.name: t for t in TOPICS}
RAW_BY_FORMAT: dict[str, Topic] = {"hl7v2": HL7_RAW, "fhir": FHIR_RAW, "dicom": DICOM_RAW}
STEP_INPUTS: dict[str, tuple[Topic, ...]] = {
    "normalize": (HL7_RAW, FHIR_RAW, DICOM_RAW),
    "assemble": (CLINICAL_EVENTS, RECORD_UPDATES),
    "encode": (CLINICAL_EVENTS,),
    "score": (PATIENT_RECORDS,),
    "fallback": (PATIENT_RECORDS,),
}
"""What each processing step reads, for those who watch its backlog."""


def consumer_group(step: str) -> str:
    """The consumer group of a step: constant, so that a restart goes on where it stopped."""
    return f"wardstream-{step}"


def changelog_name(step: str) -> str:
    """The topic of a keyed step's state."""
    return f"wardstream-{step}-changelog"
