"""Clinical events: what one source message says about one patient, in canonical form.

A `ClinicalEvent` carries *facts*. Each fact has an identity (`id`, unique within its kind and patient) and a
`Version`; of two facts with the same identity the higher version wins wherever and whenever it arrives. So a
record is a function of the set of facts, and corrections, cancellations, repeats and late results need no
special care. A result that is a text is an `Observation` where it is short, a `Document` where it is long or a file,
and these share their identity: a report takes the place of its "pending". What is said in a way that cannot be used (an
impossible number, a file that cannot be read) is a fact without a value: what was said before does not hold. `Patient`
and `Encounter` facts carry fields that version one by one: `UNSET` is "this message says nothing of it" (an empty HL7
field), `None` is "this is known to have no value" (HL7's `""`).
"""

from datetime import datetime
from enum import IntEnum, StrEnum
from hashlib import blake2b
from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

SCHEMA_VERSION = "1"


class Rank(IntEnum):
    """How final a result's status is; a higher rank supersedes a lower one (HL7 table 0085, FHIR ObservationStatus)."""

    UNKNOWN = 0
    REGISTERED = 1  # HL7 I, O, N; FHIR registered
    PRELIMINARY = 2  # HL7 P, R, S; FHIR preliminary
    FINAL = 3  # HL7 F, U; FHIR final
    AMENDED = 4  # HL7 C (A in older use); FHIR amended, corrected
    CANCELLED = 5  # HL7 X; FHIR cancelled
    ENTERED_IN_ERROR = 6  # HL7 D, W; FHIR entered-in-error

    @property
    def retracted(self) -> bool:
        """True when the result is withdrawn: it is kept for its identity and never shown or scored."""
        return self >= Rank.CANCELLED


class Version(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Total order over the versions of one fact: rank, then when it was issued, then the source's sequence.

    `issued` is epoch milliseconds (OBX-14 / MSH-7 / FHIR `issued`, `meta.lastUpdated`; 0 when unknown).
    `sequence` is the source's own order where it has one (MSH-13, FHIR `meta.versionId`), else 0.
    `digest` is a short hash of the fact's content: the last resort that keeps the order total.
    """

    rank: int = Rank.FINAL
    issued: int = 0
    sequence: int = 0
    digest: str = ""


class Identifier(msgspec.Struct, frozen=True, order=True):
    """A patient or visit identifier within its assigning authority (HL7 CX.1/CX.4/CX.5, FHIR Identifier)."""

    authority: str  # CX.4 namespace or universal id; FHIR system
    value: str
    type: str = ""  # HL7 table 0203: MR, PI, SS, NI...


class Code(msgspec.Struct, frozen=True):
    """A coded concept. `system` is a FHIR system URI where one is known, else the sender's own name for it."""

    system: str
    code: str
    display: str = ""


class Original(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the sender wrote, before canonicalisation."""

    value: str = ""
    unit: str = ""
    code: Code | None = None


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """Common part of all facts. `id` is a digest, never an identifier of the hospital's."""

    id: str
    version: Version


class Patient(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="patient"):
    """Demographics (PID, FHIR Patient). Names and addresses are not carried: nothing downstream needs them."""

    identifiers: list[Identifier] | UnsetType = UNSET
    birth_date: str | None | UnsetType = UNSET  # ISO 8601, as precise as known: 1963, 1963-08, 1963-08-15
    sex: str | None | UnsetType = UNSET  # FHIR administrative-gender: male, female, other, unknown
    deceased: bool | None | UnsetType = UNSET
    deceased_at: datetime | None | UnsetType = UNSET


class EncounterStatus(StrEnum):
    """FHIR R4 encounter-status, the part we use."""

    PLANNED = "planned"
    IN_PROGRESS = "in-progress"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class Encounter(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="encounter"):
    """A visit (PV1, FHIR Encounter). `id` is a digest of its visit number, or of 'current' where none is given."""

    status: EncounterStatus | None | UnsetType = UNSET
    class_: str | None | UnsetType = msgspec.field(default=UNSET, name="class")  # v3 ActCode: IMP, EMER, AMB...
    start: datetime | None | UnsetType = UNSET
    end: datetime | None | UnsetType = UNSET
    facility: str | None | UnsetType = UNSET  # PV1-3.4
    unit: str | None | UnsetType = UNSET  # PV1-3.1, point of care: the ward
    room: str | None | UnsetType = UNSET
    bed: str | None | UnsetType = UNSET
    unit_since: datetime | None | UnsetType = UNSET  # when the present unit was entered (EVN-6, A02)
    disposition: str | None | UnsetType = UNSET  # UB-04 / HL7 table 0112; "expired" for death (20, 40-42)
    number: Identifier | UnsetType = UNSET  # PV1-19


class Observation(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="observation"):
    """One result. `code` is LOINC where known. `value` is a number in `unit` (UCUM), or a coded/short text."""

    code: Code
    time: datetime  # of the observation itself (OBX-14, OBR-7, FHIR effective), with the source's offset
    value: float | str | None = None
    unit: str = ""
    comparator: str = ""  # <, <=, >, >= (SN.1, FHIR quantity comparator)
    interpretation: str = ""  # HL7 table 0078: H, L, HH, LL, A...
    reference_range: str = ""
    encounter: str = ""  # Encounter.id
    original: Original = Original()
    time_assumed: bool = False  # no time of its own: `time` is when it was reported (OBR-22, issued) or sent (MSH-7)
    comment: str = ""  # NTE, FHIR note: free text, not kept in the record
    movable: bool = False  # `id` says no time (a FHIR resource's own): a correction may be of another time


class Document(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="document"):
    """A note or report (MDM TXA/OBX TX, FHIR DocumentReference/DiagnosticReport). `text` is not kept in the record.

    What is not plain text lies in the object store under `encapsulated`; of HTML and RTF `text` is what they show.
    """

    time: datetime
    title: str = ""  # a type or section name, never free text of the note
    code: Code | None = None
    text: str = ""
    text_sha256: str = ""  # of the text, else of the payload
    encounter: str = ""
    encapsulated: str = ""  # object store reference of an ED's or Attachment's payload, named by its SHA-256
    content_type: str = "text/plain"
    part_of: str = ""  # Document.id of what this is an attachment or other form of: withdrawn with it
    time_assumed: bool = False  # as in `Observation`
    comment: str = ""
    unusable: bool = False  # its content cannot be read: it only takes the place of what was sent before


class Imaging(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="imaging"):
    """One DICOM instance (or a FHIR ImagingStudy, without `object`). Pixels lie in the object store."""

    time: datetime
    modality: str  # DICOM (0008,0060): CR, DX, CT, MR
    object: str = ""  # object store reference, named by hash
    object_sha256: str = ""
    study: str = ""  # digest of the Study Instance UID
    series: str = ""
    body_part: str = ""  # (0018,0015)
    view_position: str = ""  # (0018,5101)
    rows: int = 0
    columns: int = 0
    transfer_syntax: str = ""  # UID
    accession: Identifier | None = None


class Medication(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="medication"):
    """A drug ordered, dispensed, administered or taken (RDE, RDS, RGV, RAS, FHIR's Medication resources)."""

    action: str  # ordered | administered | dispensed | stated (taken, as somebody says)
    code: Code
    time: datetime
    end: datetime | None = None
    dose: float | None = None
    unit: str = ""
    route: str = ""
    status: str = ""
    encounter: str = ""


class Condition(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="condition"):
    """A diagnosis or problem (DG1, PRB, FHIR Condition)."""

    code: Code
    time: datetime
    end: datetime | None = None
    status: str = ""  # active, resolved...
    encounter: str = ""


class Procedure(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="procedure"):
    """A procedure or immunization done (PR1, VXU RXA, FHIR Procedure/Immunization)."""

    code: Code
    time: datetime
    status: str = ""
    encounter: str = ""


class Allergy(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="allergy"):
    """An allergy or intolerance (AL1, IAM, FHIR AllergyIntolerance), in FHIR R4's terms."""

    code: Code  # what to
    time: datetime  # of onset, else when it was identified or recorded
    category: str = ""  # food | medication | environment | biologic
    severity: str = ""  # of the worst reaction: mild | moderate | severe
    criticality: str = ""  # low | high | unable-to-assess
    status: str = ""  # active | inactive | resolved


class Order(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="order"):
    """A request for a test or study (ORM, OMG, OML; FHIR ServiceRequest)."""

    code: Code
    time: datetime
    status: str = ""  # HL7 ORC-1/ORC-5 or FHIR request-status
    encounter: str = ""


class Embedding(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="embedding"):
    """An encoder's output for one document or image; `id` is a digest of source fact id and model name."""

    of: str  # id of the Document or Imaging fact
    modality: str  # "note" | "image"
    time: datetime  # of the source fact
    model: str
    model_version: str
    vector: list[float]
    thumbnail: str = ""  # object store reference
    findings: dict[str, float] = {}  # e.g. {"pneumonia": 0.31}


class Transfer(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="transfer"):
    """The whole record of a superseded patient, on its way to the surviving key (made by assemble alone)."""

    record: msgspec.Raw  # a PatientRecord


class Merge(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="merge"):
    """The event's patient is superseded by `into` (A18/A34/A40 MRG-1 -> PID-3, FHIR Patient.link replaced-by)."""

    into: str  # patient key that survives


AnyFact = (
    Patient
    | Encounter
    | Observation
    | Document
    | Imaging
    | Medication
    | Condition
    | Allergy
    | Procedure
    | Order
    | Embedding
    | Merge
    | Transfer
)


class MergeEdge(msgspec.Struct, frozen=True, array_like=True):
    """One merge as the keys that it concerns tell each other of it: `old` is superseded by `into`."""

    old: str
    into: str
    version: Version


class ClinicalEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one source message says about one patient.

    `event_id` is a function of the source message alone, so the same message always gives the same bytes.
    `format` is `hl7v2`, `fhir`, `dicom`, or `wardstream` for events of our own (embeddings, transfers).
    `merges` is filled by assemble alone, on events that it sends from one patient key to another: what the sender
    knows of the merges that concern them.
    """

    event_id: str
    patient: str  # patient key
    format: str
    type: str  # ADT^A01, Observation, CR...
    occurred: datetime  # MSH-7, the newest time in a FHIR resource, DICOM acquisition
    facts: list[AnyFact]
    filtered: list["FilteredPart"] = []
    merges: list[MergeEdge] = []
    schema: ClassVar[str] = SCHEMA_VERSION


class FilteredPart(msgspec.Struct, frozen=True, array_like=True):
    """A part of the source message that was set aside: reason code and place."""

    reason: str
    where: str = ""


def digest(*parts: str, size: int = 12) -> str:
    """Short stable name for a tuple of strings: BLAKE2b over them joined by US (0x1f), as hex.

    >>> digest("a", "b") == digest("a", "b") != digest("ab", "")
    True
    """
    return blake2b("\x1f".join(parts).encode(), digest_size=size).hexdigest()


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(ClinicalEvent)


def encode_event(event: ClinicalEvent) -> bytes:
    """The event's JSON, deterministic: equal events have equal bytes."""
    return _ENCODER.encode(event)


def decode_event(data: bytes) -> ClinicalEvent:
    """Inverse of `encode_event`. Raises msgspec.ValidationError or DecodeError, whose texts carry no values."""
    return _DECODER.decode(data)
